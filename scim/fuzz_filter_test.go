package scim

import (
	"strings"
	"testing"
)

// fuzzOptions turns a number into one of all combinations of options.
func fuzzOptions(bits byte) (FilterOptions, BindOptions) {
	on := func(i int) bool { return bits>>i&1 == 1 }
	return FilterOptions{ValuePathSub: on(0), BareWords: on(1), CapitalLiterals: on(2)},
		BindOptions{DotAfterURN: on(3), BareExtension: on(4), BooleanText: on(5), ComplexValue: on(6), ForeignUnassigned: on(7)}
}

// tooDeep says that s might, printed with the parentheses that precedence implies, be larger than what is read.
func tooDeep(s string) bool {
	return len(s) > maxFilterLength/2 || strings.Count(s, "(")+strings.Count(s, "[") > maxFilterDepth/2-1
}

// FuzzFilter: a filter is refused with a 4xx, or it prints as one that is read as the same, whatever the options. If it
// means anything it has an answer, and its negation the opposite one.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{
		`userName eq "bjensen"`, `name.familyName co "O'Malley"`, `title pr and userType eq "Employee" or not (active eq false)`,
		`emails[type eq "work" and value co "@example.com"] or ims[type eq "xmpp"]`, `meta.lastModified gt "2011-05-13T04:42:34Z"`,
		`urn:ietf:params:scim:schemas:extension:enterprise:2.0:User[department eq "x" and manager.value pr]`,
		`emails[type eq "work"].value eq "x"`, `manager eq "M-1" and active eq "True"`, `a eq b and c eq True`,
		every + `:n gt -1.5e3 and ` + every + `:at le "2020-01-01T00:00:00.1234567+01:00"`, every + `:things[level lt 5 or marks ne "p"]`,
		every + `.tags[value eq "red"]`, `x509Certificates eq "AAEC"`, `members.value ne null`, `a eq "\ud83d\ude00\ufffd\n"`, `not(((a pr)))`,
		`urn:example:nope:2.0:User:a pr`, `password pr`, `schemas eq "URN:x"`, `id eq"1"`,
		"a lt 1w" + strings.Repeat("\x1d", 2000), // was a word, and printed as more than is read
	} {
		f.Add(s, byte(0))
		f.Add(s, byte(0xFF))
	}
	types := everyTypes(f)
	r := resourceOf(f, types.ByName("User"), ada)
	nothing := resourceOf(f, types.ByName("User"), `{"userName":"x"}`)
	f.Fuzz(func(t *testing.T, s string, bits byte) {
		po, bo := fuzzOptions(bits)
		e, err := ParseFilter(s, po)
		if err != nil {
			clientError(t, err)
			return
		}
		if strict, err := ParseFilter(s, FilterOptions{}); err == nil && strict.String() != e.String() {
			t.Fatalf("%q is %s, and with options %s", s, strict, e)
		}
		printed := e.String()
		if !tooDeep(s) {
			again, err := ParseFilter(printed, FilterOptions{})
			if err != nil {
				t.Fatalf("%q prints as %q: %v", s, printed, err)
			}
			if again.String() != printed {
				t.Fatalf("%q prints as %q, which prints as %q", s, printed, again)
			}
		}
		for _, typ := range types.ResourceTypes {
			bound, err := BindFilter(typ, e, bo)
			if err != nil {
				clientError(t, err)
				continue
			}
			if strict, err := BindFilter(typ, e, BindOptions{}); err == nil && typ == r.Type {
				a, _ := bound.Match(r)
				if b, _ := strict.Match(r); a != b {
					t.Fatalf("%q is %t, and with options %t", s, b, a)
				}
			}
			if typ != r.Type {
				continue
			}
			opposite, err := BindFilter(typ, &Expr{Op: OpNot, Args: []*Expr{e}}, bo)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range []*Resource{r, nothing} {
				yes, err := bound.Match(x)
				if err != nil {
					t.Fatal(err)
				}
				if no, _ := opposite.Match(x); yes == no {
					t.Fatalf("%q is %t, and its negation too", s, yes)
				}
			}
		}
	})
}

// FuzzPath: a path is refused with a 4xx, or it prints as one that is read as the same. If it means anything, it means the
// same by the name that it is then given.
func FuzzPath(f *testing.F) {
	for _, s := range []string{
		"title", "name.familyName", UserURN + ":name.familyName", EnterpriseUserURN, EnterpriseUserURN + ".manager.value", "manager",
		`emails[type eq "work"]`, `emails[type eq "work"].value`, `members[value eq "2819c223"].display`, every + `:tags[value eq "x"]`,
		`roles[primary eq "True"].value`, every + `:things[level gt 3 or not (marks pr)].when`, "a.b.c", "emails[0].value", "/title", "https://x/y:z", "urn:a",
	} {
		f.Add(s, byte(0))
		f.Add(s, byte(0xFF))
	}
	types := everyTypes(f)
	r := resourceOf(f, types.ByName("User"), ada)
	f.Fuzz(func(t *testing.T, s string, bits byte) {
		_, o := fuzzOptions(bits)
		o.ForeignUnassigned = false
		x, err := ParsePath(s)
		if err != nil {
			clientError(t, err)
			return
		}
		if !tooDeep(s) {
			again, err := ParsePath(x.String())
			if err != nil || again.String() != x.String() {
				t.Fatalf("%q prints as %q, which is read as %v, %v", s, x, again, err)
			}
		}
		for _, typ := range types.ResourceTypes {
			p, err := BindPath(typ, x, o)
			if err != nil {
				clientError(t, err)
				continue
			}
			if strict, err := BindPath(typ, x, BindOptions{}); err == nil && strict.String() != p.String() {
				t.Fatalf("%q is %s, and with options %s", s, strict, p)
			}
			if p.target() == nil || p.Ext == nil && p.Attr == nil {
				t.Fatalf("%q leads nowhere", s)
			}
			if p.Where != nil && !p.Attr.MultiValued {
				t.Fatalf("%q chooses among the values of %s, which has one", s, p.Attr.Path())
			}
			if !tooDeep(s) {
				named, err := ParsePath(p.String())
				if err != nil {
					t.Fatalf("%q is %q: %v", s, p, err)
				}
				q, err := BindPath(typ, named, BindOptions{BooleanText: o.BooleanText, ComplexValue: o.ComplexValue})
				if err != nil || q.String() != p.String() || q.Ext != p.Ext || q.Attr != p.Attr || q.Sub != p.Sub {
					t.Fatalf("%q is %s, which is %s, %v", s, p, q, err)
				}
			}
			if p.Where == nil || typ != r.Type {
				continue
			}
			v := r.Object.Get(p.Attr)
			if p.Ext != nil {
				v = r.Object.Get(p.Ext).sub(p.Attr)
			}
			for e := range v.each {
				p.Where.MatchValue(e)
			}
			newElement(p.Where)
		}
	})
}
