package scim

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// testdata/filters.jsonl says of each filter how it prints, or that it is refused. All of it holds without any option but
// the one line that is a client's deviation.
func TestFilterTable(t *testing.T) {
	needs := map[string]FilterOptions{
		"Entra capital literal": {CapitalLiterals: true},
	}
	file, err := os.Open("testdata/filters.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rows := 0
	for lines := bufio.NewScanner(file); lines.Scan(); rows++ {
		var row struct {
			Filter   string `json:"filter"`
			PrintsAs string `json:"prints_as"`
			Error    bool   `json:"error"`
			Why      string `json:"why"`
		}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		t.Run(row.Why, func(t *testing.T) {
			o := needs[row.Why]
			if o != (FilterOptions{}) {
				if _, err := ParseFilter(row.Filter, FilterOptions{}); err == nil {
					t.Errorf("%s needs no option", clip(row.Filter))
				}
			}
			e, err := ParseFilter(row.Filter, o)
			switch {
			case row.Error && err == nil:
				t.Fatalf("%s\nis read as %s", clip(row.Filter), e)
			case row.Error:
				clientError(t, err)
				return
			case err != nil:
				t.Fatalf("%s\n%v", clip(row.Filter), err)
			case e.String() != row.PrintsAs:
				t.Fatalf("%s\nprints as %s\nwant      %s", clip(row.Filter), e, row.PrintsAs)
			}
			again, err := ParseFilter(row.PrintsAs, FilterOptions{})
			if err != nil || again.String() != row.PrintsAs {
				t.Errorf("%s\nis read again as %v, %v", row.PrintsAs, again, err)
			}
		})
	}
	if rows != 88 {
		t.Errorf("%d rows, want 88", rows)
	}
}

func TestParseFilterErrors(t *testing.T) {
	for _, tt := range []struct{ filter, want string }{
		{"", "the filter is empty"},
		{"   ", "the filter is empty"},
		{"userName", `at byte 8: found the end behind "userName"; expected is a blank and an operator: eq,`},
		{"userName ", `at byte 9: found the end; expected is an operator`},
		{"userName eq", `at byte 11: found the end behind "eq"; expected is a blank and a value`},
		{"userName eq ", `at byte 12: found the end; expected is a string in double quotes, a number`},
		{"userName regex \"a\"", `at byte 9: "regex" is no operator; expected is eq, ne,`},
		{"userName eq bjensen", `at byte 12: found something that is not in double quotes`},
		{"userName eq 'bjensen'", `at byte 12: found something that is not in double quotes`},
		{`userName eq "bjensen`, `at byte 12: the string that begins here does not end`},
		{`userName eq "a\"`, `at byte 12: the string that begins here does not end`},
		{`userName eq "a` + "\n" + `b"`, `at byte 14: a control character stands in a string; write it as \u000a`},
		{`userName eq "\q"`, `at byte 12: an escape in the string is none of JSON`},
		{`userName eq "\ud83dx"`, `at byte 12: an escape in the string is none of JSON`},
		{"userName eq \"a\xffb\"", `at byte 14: this is no UTF-8`},
		{"userName eq \"a\ufffdb\"", `at byte 14: this is no UTF-8, or was none on its way here`},
		{"n eq 01", `at byte 5: found something`},
		{"n eq 1e", `at byte 5: found something`},
		{"n eq .5", `at byte 5: found something`},
		{"n eq -", `at byte 5: found something`},
		{"n eq 1)", `at byte 6: found ")"; expected is "and" or "or" after a blank, or the end`},
		{"a pr or", `at byte 7: found the end; expected is a comparison`},
		{"a pr or ", `at byte 8: found the end; expected is a comparison`},
		{"or a pr", `at byte 3: "a" is no operator`},
		{"a pr\tor b pr", `at byte 4: found "\t"; expected is "and" or "or"`},
		{"a pr b pr", `at byte 5: found "b"; expected is "and" or "or"`},
		{"a pr, b pr", `at byte 4: found ","`},
		{`a eq "x"and b pr`, `at byte 8: found "and"; expected is "and" or "or" after a blank`},
		{"not a pr", `at byte 4: "a" is no operator`},
		{"(a pr", `at byte 5: found the end; expected is "and" or "or" after a blank, or the ")" that closes byte 0`},
		{"b pr and (a pr]", `at byte 14: found "]"; expected is "and" or "or" after a blank, or the ")" that closes byte 9`},
		{"()", `at byte 1: found ")"; expected is a comparison`},
		{"emails[type pr", `at byte 14: found the end; expected is "and" or "or" after a blank, or the "]" that closes byte 6`},
		{"emails[]", `at byte 7: found "]"; expected is a comparison, such as type eq`},
		{"emails[0]", `at byte 7: found "0"; expected is a comparison`},
		{"emails[a[b pr]]", `at byte 8: brackets inside of brackets`},
		{"emails.value[type pr]", `at byte 12: "emails.value" is one value of each "emails"`},
		{`emails[type eq "work"].value eq "x"`, `at byte 22: a filter compares inside of the brackets: emails[`},
		{"a.b.c pr", `at byte 0: "a.b.c" is no attribute and sub-attribute`},
		{"x pr and a.1 pr", `at byte 9: "a.1" is no attribute and sub-attribute`},
		{"a. pr", `at byte 2: found " " behind "a."; expected is a name`},
		{"urn:a: pr", `at byte 6: found " " behind "urn:a:"; expected is a name`},
		{":a pr", `at byte 0: found ":"; expected is a comparison`},
		{"é pr", `at byte 0: found "é"; expected is a comparison`},
		{`"a" pr`, `at byte 0: found a string; expected is a comparison`},
		{"a/b pr", `at byte 1: found "/" behind "a"`},
		{strings.Repeat("(", 51) + "a pr" + strings.Repeat(")", 51), `at byte 50: parentheses and brackets are nested deeper than 50 levels`},
		{strings.Repeat("a pr or ", 200) + "a pr", `at byte 1600: there are more than 200 comparisons`},
		{`a eq "` + strings.Repeat("x", 8<<10) + `"`, `the filter has 8199 bytes, more than 8192`},
	} {
		e, err := ParseFilter(tt.filter, FilterOptions{})
		se, ok := err.(*Error)
		if !ok {
			t.Errorf("%s: is read as %v, %v", clip(tt.filter), e, err)
			continue
		}
		if se.Status != 400 || se.Type != InvalidFilter || !strings.Contains(se.Detail, tt.want) {
			t.Errorf("%s:\n got %v\nwant %s", clip(tt.filter), err, tt.want)
		}
	}
}

// What stands at the limits is still read.
func TestParseFilterLimits(t *testing.T) {
	for _, s := range []string{
		strings.Repeat("(", 50) + "a pr" + strings.Repeat(")", 50),
		strings.Repeat("not(", 49) + "a[b pr]" + strings.Repeat(")", 49),
		strings.Repeat("a pr or ", 199) + "a pr",
		`a eq "` + strings.Repeat("x", 8<<10-7) + `"`,
	} {
		if _, err := ParseFilter(s, FilterOptions{}); err != nil {
			t.Errorf("%s: %v", clip(s), err)
		}
	}
}

// Strings of the error must not hold what is compared with: it may be a secret.
func TestFilterErrorsKeepValues(t *testing.T) {
	for _, s := range []string{`password eq hunter2`, `password eq "hunter2`, `password eq "hunter2\q"`, `a pr "hunter2"`, `password eq 'hunter2'`} {
		_, err := ParseFilter(s, FilterOptions{})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestFilterOptions(t *testing.T) {
	all := FilterOptions{ValuePathSub: true, BareWords: true, CapitalLiterals: true}
	for _, tt := range []struct {
		filter string
		o      FilterOptions
		want   string // "" if it is refused even so
	}{
		{`emails[type eq "work"].value eq "x"`, FilterOptions{ValuePathSub: true}, `emails[type eq "work" and value eq "x"]`},
		{`emails[type eq "work"].value pr`, FilterOptions{ValuePathSub: true}, `emails[type eq "work" and value pr]`},
		{`emails[a pr and b pr].value eq "x" and c pr`, FilterOptions{ValuePathSub: true}, `emails[a pr and b pr and value eq "x"] and c pr`},
		{`emails[a pr or b pr].value eq "x"`, FilterOptions{ValuePathSub: true}, `emails[(a pr or b pr) and value eq "x"]`},
		{`not (emails[not (a pr)].value eq "x")`, FilterOptions{ValuePathSub: true}, `not (emails[not (a pr) and value eq "x"])`},
		{`emails[type eq "work"].value.x eq "x"`, FilterOptions{ValuePathSub: true}, ""},
		{`emails[type eq "work"]. eq "x"`, FilterOptions{ValuePathSub: true}, ""},
		{`emails[type eq "work"].value`, FilterOptions{ValuePathSub: true}, ""},
		{`emails[type eq "work"].value eq "x"`, FilterOptions{BareWords: true, CapitalLiterals: true}, ""},

		{`userName eq bjensen`, FilterOptions{BareWords: true}, `userName eq "bjensen"`},
		{`(a eq b) and c[d eq e]`, FilterOptions{BareWords: true}, `a eq "b" and c[d eq "e"]`},
		{`meta.created gt 2015-10-10T14:38:21.8617979-07:00`, FilterOptions{BareWords: true}, `meta.created gt "2015-10-10T14:38:21.8617979-07:00"`},
		{`emails.value co corp.example`, FilterOptions{BareWords: true}, `emails.value co "corp.example"`},
		{`a eq mira@corp.example`, FilterOptions{BareWords: true}, `a eq "mira@corp.example"`},
		{`a eq 山田`, FilterOptions{BareWords: true}, `a eq "山田"`},
		{`a eq true and b eq 5`, FilterOptions{BareWords: true}, `a eq true and b eq 5`}, // what is JSON stays what it is
		{`a eq True`, FilterOptions{BareWords: true}, `a eq "True"`},
		{`a eq 'x'`, FilterOptions{BareWords: true}, ""},
		{`a eq x"y"`, FilterOptions{BareWords: true}, ""},
		{`a eq x y`, FilterOptions{BareWords: true}, ""},
		{`a eq x(y)`, FilterOptions{BareWords: true}, ""},
		{`a eq`, FilterOptions{BareWords: true}, ""},

		{`a eq True and b eq FALSE and c ne Null`, FilterOptions{CapitalLiterals: true}, `a eq true and b eq false and c ne null`},
		{`a eq TRUE`, FilterOptions{}, ""},
		{`a eq Truely`, FilterOptions{CapitalLiterals: true}, ""},
		{`a eq True`, all, `a eq true`},
		{`a eq "True"`, all, `a eq "True"`},

		// The RFC's own PATCH example has no blank there (RFC 7644 section 3.5.2.2).
		{`value eq"2819c223"`, FilterOptions{}, `value eq "2819c223"`},
		{`a eq "\ufffd\u0001\/"`, FilterOptions{}, `a eq "\ufffd\u0001/"`},
		{`a pr and (b pr and (c pr and d pr)) and (e pr or f pr)`, FilterOptions{}, `a pr and b pr and c pr and d pr and (e pr or f pr)`},
		{`(a pr or b pr) or c pr`, FilterOptions{}, `a pr or b pr or c pr`},
		{`(a pr and b pr) and c pr or d pr`, FilterOptions{}, `(a pr and b pr and c pr) or d pr`},
		{`(urn:example:a(b):c pr)`, FilterOptions{}, `urn:example:a(b):c pr`},
	} {
		e, err := ParseFilter(tt.filter, tt.o)
		if tt.want == "" {
			if err == nil {
				t.Errorf("%s: is read as %s", tt.filter, e)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.filter, err)
			continue
		}
		if e.String() != tt.want {
			t.Errorf("%s\n got %s\nwant %s", tt.filter, e, tt.want)
		}
	}
}

func BenchmarkParseFilter(b *testing.B) {
	for _, s := range []string{
		`userName eq "bjensen"`,
		`userType eq "Employee" and (emails[type eq "work" and value co "@example.com"] or not (title pr))`,
	} {
		b.Run(s[:8], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseFilter(s, FilterOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
