package scim

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Whatever JSON a client sends, order, spelling and digits of it are kept.
func TestNodesKeepEverything(t *testing.T) {
	for _, text := range []string{
		`{}`, `[]`, `null`, `true`, `false`, `""`, `0`, `-0`, `1.50`, `1e400`, `-1E+2`, `12345678901234567890.10`,
		`{"b":1,"a":[{},[],null,"x"],"B2":{"c":"\u0000\"\\ü😀"}}`, `"\ufffd"`, `{"":""}`,
	} {
		n, err := parseJSON([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := string(n.appendJSON(nil)); got != text && got != strings.ReplaceAll(text, `\ufffd`, "\ufffd") {
			t.Errorf("%s became %s", text, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := genJSON(t, 3)
		n, err := parseJSON([]byte(" " + text + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(n.appendJSON(nil)); got != text {
			t.Fatalf("%s became %s", text, got)
		}
	})
}

func genJSON(t *rapid.T, depth int) string {
	kinds := 4
	if depth > 0 {
		kinds = 6
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return string(appendText(nil, rapid.String().Draw(t, "text")))
	case 1:
		return fmt.Sprint(rapid.Int().Draw(t, "number"))
	case 2:
		return fmt.Sprint(rapid.Bool().Draw(t, "boolean"))
	case 3:
		return "null"
	case 4:
		l := make([]string, rapid.IntRange(0, 3).Draw(t, "length"))
		for i := range l {
			l[i] = genJSON(t, depth-1)
		}
		return "[" + strings.Join(l, ",") + "]"
	}
	l := make([]string, rapid.IntRange(0, 20).Draw(t, "members"))
	for i := range l {
		l[i] = fmt.Sprintf(`"m%d":%s`, i, genJSON(t, depth-1))
	}
	return "{" + strings.Join(l, ",") + "}"
}

// Members that are the same but for case are found among few and among many, wherever they stand.
func TestDuplicateMembers(t *testing.T) {
	for _, n := range []int{1, 2, 14, 15, 16, 17, 18, 40} {
		for at := range n {
			names := make([]string, n+1)
			for i := range names {
				names[i] = fmt.Sprintf("Name%d", i)
			}
			names[n] = strings.ToUpper(names[at])
			text := func(l []string) []byte { return []byte(`{"` + strings.Join(l, `":0,"`) + `":0}`) }
			if _, err := parseJSON(text(names)); err == nil || !strings.Contains(err.Error(), names[n]) {
				t.Fatalf("%d members, the last like number %d: %v", n+1, at, err)
			}
			if _, err := parseJSON(text(names[:n])); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestDepth(t *testing.T) {
	for _, open := range []string{"[", `{"a":`} {
		shut := map[string]string{"[": "]", `{"a":`: "}"}[open]
		if _, err := parseJSON([]byte(strings.Repeat(open, maxDepth) + "1" + strings.Repeat(shut, maxDepth))); err != nil && open != "[" {
			t.Errorf("%d levels: %v", maxDepth, err)
		}
		if _, err := parseJSON([]byte(strings.Repeat(open, maxDepth+1) + "1" + strings.Repeat(shut, maxDepth+1))); err == nil {
			t.Errorf("%d levels are taken", maxDepth+1)
		}
	}
}

// An error says where, and nothing of a text that may be a secret.
func TestSyntaxErrorsAreDiscreet(t *testing.T) {
	for _, text := range []string{
		`{"password":"s3cret`, `{"password":"s3cret","password":"s3cret"}`, `{"password":"s3cret" "x"}`, `{"password":"s3cret\x"}`, `{"password":"s3cret"}x`,
		"{\"password\":\"s3cret\xff\"}", `{"password":"s3cret",}`, `{"password":["s3cret"}`,
	} {
		_, err := parseJSON([]byte(text))
		clientError(t, err)
		if strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "byte") {
			t.Errorf("%s: %v", text, err)
		}
	}
	h := openHouse(t, Options{})
	u := h.user("ada", "")
	for _, c := range []struct{ method, target, body string }{
		{"POST", "/Users", `{"userName":"x","password":["s3cret"]}`},
		{"POST", "/Users", `{"userName":"x","active":"s3cret"}`},
		{"POST", "/Users", `{"userName":"x","name":"s3cret"}`},
		{"PATCH", "/Users/" + u, patchBody(`{"op":"replace","path":"password","value":{"value":"s3cret"}}`)},
		{"GET", `/Users?filter=password eq "s3cret"`, ""},
		{"GET", `/Users?filter=userName eq "s3cret`, ""},
		{"GET", `/Users?filter=active eq "s3cret"`, ""},
	} {
		r := h.ask(c.method, c.target, c.body)
		if r.status != 400 || strings.Contains(r.text("detail"), "s3cret") {
			t.Errorf("%s %s: %d %s", c.method, c.body, r.status, r.body)
		}
	}
}

func TestClip(t *testing.T) {
	for _, s := range []string{"", "x", strings.Repeat("x", 80), strings.Repeat("x", 81), strings.Repeat("ä", 60), strings.Repeat("😀", 60), "x" + strings.Repeat("😀", 60)} {
		c := clip(s)
		if c != s && (!strings.HasSuffix(c, "…") || !strings.HasPrefix(s, strings.TrimSuffix(c, "…")) || len(c) > 83) {
			t.Errorf("%q became %q", s, c)
		}
		if c == s && len(s) > 80 || !slices.Equal([]byte(strings.ToValidUTF8(c, "?")), []byte(c)) {
			t.Errorf("%q became %q", s, c)
		}
	}
}
