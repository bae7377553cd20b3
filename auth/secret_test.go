package auth

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"text/template"
)

func TestSecretRedactsItself(t *testing.T) {
	const plain = "hunter2-hunter2"
	s := newSecret(plain)
	type exported struct{ S Secret }
	type unexported struct {
		n int
		s Secret
	}
	values := map[string]any{
		"value": s, "pointer": &s, "slice": []Secret{s}, "map": map[string]Secret{"k": s}, "key": map[Secret]int{s: 1},
		"struct": exported{s}, "pointer to struct": &exported{s}, "unexported": unexported{1, s}, "deep": []*unexported{{1, s}},
	}
	for name, v := range values {
		t.Run(name, func(t *testing.T) {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %[1]v", "% x", "%10.5s", "%!"} {
				refuseIn(t, "fmt "+verb, fmt.Sprintf(verb, v), plain)
			}
			refuseIn(t, "Sprint", fmt.Sprint(v), plain)
			refuseIn(t, "Errorf", fmt.Errorf("failed with %v: %w", v, errors.New("x")).Error(), plain)

			var out bytes.Buffer
			for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
				slog.New(h).Info("made", "secret", v, slog.Group("g", "secret", v), slog.Any("list", []any{v}))
			}
			if j, err := json.Marshal(v); err == nil {
				out.Write(j)
			}
			if x, err := xml.Marshal(v); err == nil {
				out.Write(x)
			}
			if err := template.Must(template.New("").Parse("{{.}} {{printf `%#v` .}}")).Execute(&out, v); err != nil {
				t.Error(err)
			}
			refuseIn(t, "log, JSON, XML and template", out.String(), plain)
		})
	}

	if got := s.Reveal(); got != plain {
		t.Errorf("Reveal() = %q", got)
	}
	if got := (Secret{}).Reveal(); got != "" {
		t.Errorf("Reveal() of the zero value = %q", got)
	}
	if got := fmt.Sprintf("%v|%+v|%#v|%s|%q", s, s, s, s, s); got != strings.TrimSuffix(strings.Repeat(redacted+"|", 5), "|") {
		t.Errorf("fmt: %s", got)
	}
	if got, err := json.Marshal(exported{s}); err != nil || string(got) != `{"S":"[redacted]"}` {
		t.Errorf("JSON: %s, %v", got, err)
	}
	if got, err := s.MarshalText(); err != nil || string(got) != redacted {
		t.Errorf("text: %s, %v", got, err)
	}
}

// refuseIn fails the test if the plain text, as it is or in hexadecimal, is in text.
func refuseIn(t *testing.T, where, text, plain string) {
	t.Helper()
	for _, form := range []string{plain, fmt.Sprintf("%x", plain), fmt.Sprintf("%X", plain), fmt.Sprintf("% x", plain)} {
		if strings.Contains(text, form) {
			t.Errorf("%s gives the secret away: %s", where, text)
		}
	}
}
