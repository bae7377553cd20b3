package scim

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"scimbox/storage"
)

// fuzzQuirks are the two ends: nothing tolerated, and everything.
func fuzzQuirks(strict bool) quirks {
	if strict {
		return quirks{}
	}
	return tolerant
}

// FuzzParse: what the parser takes is what the slow way makes of the same text.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,-0.5e+7,true,false,null,{}],"b":{"c":"\ud83d\ude00\n\"x"}}`, ` [ ] `, `{"a":1,"A":2}`, `{"a":"\ud800"}`, `{"a":"\x"}`, `01`, `1.`, `-`, `1e`,
		"\"\x01\"", "\"\xff\"", `{"a":1,}`, `[1,]`, `{,}`, `tru`, `nullx`, `"a`, `{"a" :1 , "b": [ "x" ] } `, "{}\u00a0", strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1),
		`{"\u0061":1,"a":2}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		slow, err := readJSON(text)
		fast, ok := parse(text)
		switch {
		case ok && err != nil:
			t.Fatalf("%q is taken, and refused by the slow way: %v", text, err)
		case !ok && err == nil:
			t.Fatalf("%q is left to the slow way, which takes it", text)
		case ok && string(fast.appendJSON(nil)) != string(slow.appendJSON(nil)):
			t.Fatalf("%q is %s, and %s by the slow way", text, fast.appendJSON(nil), slow.appendJSON(nil))
		}
	})
}

// FuzzResource: whatever body a client sends, it is refused with a 4xx, or what is stored of it reads back as the same.
func FuzzResource(f *testing.F) {
	for _, s := range []string{
		`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"a"}`,
		`{"userName":"a","active":"True","emails":[{"value":"a@x","primary":true},{"value":"b@x","primary":true}]}`,
		`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"a","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"manager":"m","department":"D"}}`,
		`{"userName":"a","name.givenName":"G","urn:ietf:params:scim:schemas:core:2.0:User:title":"T"}`,
		`{"userName":"a","x509Certificates":[{"value":"AAEC"}],"meta":{"created":5},"id":null,"groups":"x"}`,
		`{"userName":"a","manager":[{"$ref":null,"value":"u2"}],"roles":["x"]}`,
		`{"a":1e400,"b":[[[[[[]]]]]],"c":"\ud83d\ude00"}`,
		`[]`, `"`, ``, `{"userName":"a","USERNAME":"b"}`,
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	types := builtinTypes(f)
	f.Fuzz(func(t *testing.T, body []byte, strict bool) {
		for _, typ := range types.ResourceTypes {
			n, err := parseJSON(body)
			if err != nil {
				clientError(t, err)
				return
			}
			d := decoder{t: typ, q: fuzzQuirks(strict), strict: strict, specified: map[*Attribute]bool{}}
			o, err := d.resource(n)
			if err != nil {
				clientError(t, err)
				continue
			}
			sameWhenStored(t, typ, o)
		}
	})
}

// FuzzPatch: whatever PATCH a client sends, it is refused with a 4xx and has changed nothing, or what it makes of the
// resource reads back as the same. It makes the same of one of which only that is decoded which it looks at.
func FuzzPatch(f *testing.F) {
	for _, ops := range []string{
		`{"op":"Replace","path":"active","value":"False"}`,
		`{"op":"add","path":"emails[type eq \"work\"].value","value":"x@x"}`,
		`{"op":"replace","path":"emails[type eq \"work\" and primary eq true]","value":{"value":"y"}}`,
		`{"op":"remove","path":"emails[value co \"@\"]"}`,
		`{"op":"add","value":{"name.givenName":"G","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department":"D"}}`,
		`{"op":"replace","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager","value":""}`,
		`{"op":"replace","path":"name","value":{"familyName":"F"}},{"op":"remove","path":"name.familyName"}`,
		`{"op":"add","path":"roles[primary eq \"True\"].display","value":"R"},{"op":"Add","path":"roles[primary eq \"True\"].value","value":"r"}`,
		`{"op":"add","path":"members","value":[{"value":"u"}]}`,
		`{"op":"remove","path":"userName"}`,
	} {
		body := []byte(`{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[` + ops + `]}`)
		f.Add(body, true)
		f.Add(body, false)
	}
	types := builtinTypes(f)
	user := types.ByName("User")
	d := decoder{t: user, q: tolerant}
	n, err := parseJSON([]byte(`{"userName":"a","active":true,"name":{"givenName":"G"},"emails":[{"value":"a@x","type":"work","primary":true},
		{"value":"b@x","type":"home"}],"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"D","manager":{"value":"m"}}}`))
	if err != nil {
		f.Fatal(err)
	}
	start, err := d.resource(n)
	if err != nil {
		f.Fatal(err)
	}
	before := string(encodeBody(user, start))
	s := &Service{index: map[*ResourceType][]indexedAttribute{user: indexes(user)}}
	now := time.Unix(1, 0)
	rec := storage.Record{Body: []byte(before), Terms: s.terms(user, start, nil, "id", now)}
	f.Fuzz(func(t *testing.T, body []byte, strict bool) {
		n, err := parseJSON(body)
		if err != nil {
			clientError(t, err)
			return
		}
		o, err := applyAll(user, fuzzQuirks(strict), start, n)
		if after := string(encodeBody(user, start)); after != before {
			t.Fatalf("the stored resource has changed:\nbefore %s\nafter  %s", before, after)
		}
		if err != nil {
			clientError(t, err)
			return
		}
		sameWhenStored(t, user, o)
		ops, err := (&patchDecoder{decoder{t: user, q: fuzzQuirks(strict), strict: true}, "id"}).decode(n)
		if err != nil {
			t.Fatal(err)
		}
		part, rest, err := decodePartly(user, &rec, user.looksAt(ops))
		if err != nil || rest == nil {
			t.Fatalf("%s is not decoded in part: %v", rec.Body, err)
		}
		ed := editor{t: user, q: fuzzQuirks(strict), object: part.Clone()}
		if err := ed.applyAll(ops); err != nil {
			t.Fatalf("it is refused where the resource is decoded in part: %v", err)
		}
		if whole, got := encodeBody(user, o), encodeWith(user, ed.object, rest); string(got) != string(whole) {
			t.Fatalf("of all  %s\nin part %s", whole, got)
		}
		if whole, got := s.terms(user, o, nil, "id", now), s.terms(user, ed.object, rest, "id", now); !reflect.DeepEqual(got, whole) {
			t.Fatalf("terms of all  %v\nterms in part %v", whole, got)
		}
		if whole, got := changesOf(user, start, o, false), changesOf(user, part, ed.object, false); string(got.b) != string(whole.b) {
			t.Fatalf("changes of all  %s\nchanges in part %s", whole.b, got.b)
		}
	})
}

func clientError(t *testing.T, err error) {
	t.Helper()
	if e, ok := err.(*Error); !ok || e.Status < 400 || e.Status > 499 || e.Detail == "" {
		t.Fatalf("not an error that tells the client what to do: %v", err)
	}
}

func sameWhenStored(t *testing.T, typ *ResourceType, o *Object) {
	t.Helper()
	body := encodeBody(typ, o)
	back, err := decodeBody(typ, body)
	if err != nil {
		t.Fatalf("%s does not read back: %v", body, err)
	}
	if len(back.extra) > 0 {
		t.Fatalf("%s holds what the schema does not know", body)
	}
	if again := encodeBody(typ, back); string(again) != string(body) {
		t.Fatalf("stored %s\nread   %s", body, again)
	}
}
