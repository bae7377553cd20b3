package auth

import (
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

func TestForm(t *testing.T) {
	scanner := regexp.MustCompile(`^scimbox_[a-z2-7]{12}_[A-Z2-7]{59}$`) // as doc of form.go promises
	seen := make(map[string]bool)
	for range 200 {
		id, secret := newID(), newPlain()
		token := compose(id, secret)
		if !scanner.MatchString(token) || len(token) != tokenLen {
			t.Fatalf("%s does not have the promised form", token)
		}
		if gotID, gotSecret, ok := parse(token); !ok || gotID != id || gotSecret != secret {
			t.Fatalf("parse(%s) = %q, %q, %v", token, gotID, gotSecret, ok)
		}
		if seen[id] || seen[secret] {
			t.Fatalf("%s is not random", token)
		}
		seen[id], seen[secret] = true, true
	}
}

func TestFormRefusesTypingErrors(t *testing.T) {
	token := compose(newID(), newPlain())
	wrong := map[string]string{
		"empty": "", "prefix": prefix, "space before": " " + token, "space after": token + " ", "line break": token + "\n",
		"twice": token + token, "lower case": strings.ToLower(token), "upper case": strings.ToUpper(token),
		"without prefix": strings.TrimPrefix(token, prefix), "other prefix": "scimbax_" + token[len(prefix):],
		"underscore moved": token[:len(prefix)+idLen-1] + "_" + token[len(prefix)+idLen-1:len(prefix)+idLen] + token[len(prefix)+idLen+1:],
	}
	for i := range token {
		wrong["cut to "+token[:i]] = token[:i]
		wrong["without the character behind "+token[:i]] = token[:i] + token[i+1:]
		wrong["twice the character behind "+token[:i]] = token[:i+1] + token[i:]
		for _, c := range alphabet {
			if byte(c) != token[i] {
				wrong["with "+string(c)+" behind "+token[:i]] = token[:i] + string(c) + token[i+1:]
			}
		}
		if i > 0 && token[i] != token[i-1] {
			wrong["swapped at "+token[:i]] = token[:i-1] + token[i:i+1] + token[i-1:i] + token[i+1:]
		}
	}
	for name, presented := range wrong {
		if presented == token {
			continue
		}
		if _, _, ok := parse(presented); ok {
			t.Errorf("%s: taken", name)
		}
	}
}

// bcrypt leaves out what lies behind byte 72, so that a longer secret would be weaker than it looks.
func TestEveryCharacterOfTheSecretCounts(t *testing.T) {
	secret := newPlain()
	if len(secret) != secretLen || secretLen > 72 {
		t.Fatalf("the secret has %d characters", len(secret))
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(secret), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for i := range secret {
		other := []byte(secret)
		other[i] ^= 1
		if bcrypt.CompareHashAndPassword(hash, other) == nil {
			t.Errorf("character %d does not count", i)
		}
	}
}

func TestDummyHash(t *testing.T) {
	for cost := bcrypt.MinCost; cost <= bcrypt.MaxCost; cost++ {
		if got, err := bcrypt.Cost(dummyHash(cost)); err != nil || got != cost {
			t.Errorf("cost %d: %d, %v", cost, got, err)
		}
	}
	if err := bcrypt.CompareHashAndPassword(dummyHash(bcrypt.MinCost), []byte(newPlain())); err != bcrypt.ErrMismatchedHashAndPassword {
		t.Errorf("comparing with the dummy: %v; the computation was skipped", err)
	}
}

func TestHoldsToken(t *testing.T) {
	token := compose(newID(), newPlain())
	for s, want := range map[string]bool{
		"": false, "entra": false, "scimbox_": false, "scimbox_production": false, "scimbox_ scimbox_": false,
		token: true, "my " + token + " token": true, token[:len(prefix)+idLen+3]: true, "scimbox_" + token: true,
	} {
		if got := holdsToken(s); got != want {
			t.Errorf("holdsToken(%q) = %v", s, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(compose(newID(), newPlain()))
	f.Add("")
	f.Add(prefix)
	f.Fuzz(func(t *testing.T, presented string) {
		id, secret, ok := parse(presented)
		if ok && compose(id, secret) != presented {
			t.Errorf("%q was taken, and is written %q", presented, compose(id, secret))
		}
		if !ok && (id != "" || secret != "") && len(presented) != tokenLen {
			t.Errorf("%q was refused, with parts", presented)
		}
	})
}
