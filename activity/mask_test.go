package activity

import (
	"strings"
	"testing"
)

func TestMask(t *testing.T) {
	const token = "scimbox_abcdefghijkl_ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for name, test := range map[string]struct{ mask, body, want string }{
		"secrets": {``,
			`{"password":"x","userName":"u","a":[{"client_secret":"x","Authorization":["x",1,true,null,{"y":"x"}]}]}`,
			`{"password":"***","userName":"u","a":[{"client_secret":"***","Authorization":["***","***","***",null,{"y":"***"}]}]}`},
		"a secret by a path": {``,
			`{"Operations":[{"value":"x","op":"replace","path":"password"},{"op":"add","path":"urn:ietf:params:scim:schemas:core:2.0:User:password","value":{"x":"x"}}]}`,
			`{"Operations":[{"value":"***","op":"replace","path":"password"},{"op":"add","path":"urn:ietf:params:scim:schemas:core:2.0:User:password","value":{"x":"***"}}]}`},
		"a token somewhere": {``, `{"nickName":"my ` + token + ` is","x ` + token + `":1}`, `{"nickName":"my scimbox_abcdefghijkl_*** is","x scimbox_abcdefghijkl_***":1}`},
		"secrets of OAuth":  {``, `["x scimbox_cs_abcdefghijkl_ABC.","scimbox_at_abcdefghijkl_ABC"]`, `["x scimbox_cs_abcdefghijkl_***.","scimbox_at_abcdefghijkl_***"]`},
		"an attribute": {`name`,
			`{"name":{"familyName":"x","givenName":"x"},"displayName":"d","NAME":"x"}`,
			`{"name":{"familyName":"***","givenName":"***"},"displayName":"d","NAME":"***"}`},
		"a sub-attribute": {`name.familyName`,
			`{"name":{"familyName":"x","givenName":"g"},"name.familyName":"x","familyName":"f"}`,
			`{"name":{"familyName":"***","givenName":"g"},"name.familyName":"***","familyName":"f"}`},
		"a sub-attribute of a path": {`name.familyName`,
			`{"Operations":[{"op":"replace","path":"name","value":{"familyName":"x","givenName":"g"}},{"op":"add","path":"name.familyName","value":"x"},{"op":"add","path":"name.givenName","value":"g"}]}`,
			`{"Operations":[{"op":"replace","path":"name","value":{"familyName":"***","givenName":"g"}},{"op":"add","path":"name.familyName","value":"***"},{"op":"add","path":"name.givenName","value":"g"}]}`},
		"values of an array": {`emails.value`,
			`{"emails":[{"value":"x","type":"work"},{"value":"x"}],"members":[{"value":"m"}],"Operations":[{"op":"replace","path":"emails[type eq \"work\"].value","value":"x"}]}`,
			`{"emails":[{"value":"***","type":"work"},{"value":"***"}],"members":[{"value":"m"}],"Operations":[{"op":"replace","path":"emails[type eq \"work\"].value","value":"***"}]}`},
		"of an extension": {`department`,
			`{"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"x","division":"d"},"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department":"x"}`,
			`{"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"***","division":"d"},"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department":"***"}`},
		"in the filter of a path": {`emails`,
			`{"Operations":[{"op":"remove","path":"emails[value eq \"x\"]"},{"op":"remove","path":"phoneNumbers[value eq \"p\"]"}]}`,
			`{"Operations":[{"op":"remove","path":"emails[value eq \"***\"]"},{"op":"remove","path":"phoneNumbers[value eq \"p\"]"}]}`},
		"in a search": {`userName`,
			`{"filter":"userName eq \"x\" and title eq \"x\"","schemas":["s"]}`,
			`{"filter":"userName eq \"***\" and title eq \"***\"","schemas":["s"]}`},
		"twice": {`title`, `{"title":"x","title":"x"}`, `{"title":"***","title":"***"}`},
	} {
		t.Run(name, func(t *testing.T) {
			tree, err := parseTree([]byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			m := NewMask(strings.Fields(test.mask))
			m.apply(tree)
			if got := string(tree.append(nil)); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// Whatever an entry is made of, what is masked is nowhere in it.
func TestNothingMaskedIsInAnEntry(t *testing.T) {
	const secret = "Barbara-the-Great"
	long := strings.Repeat("Barbara", 30)
	k := keeper{mask: NewMask([]string{"name", "userName"}), body: 4000, base: "/scim/v2", types: types}
	for name, r := range map[string]*Request{
		"body":        {Body: Body{Data: []byte(`{"name":{"formatted":"` + secret + `"}}`)}},
		"answer":      {Body: Body{Data: []byte(`{"userName":"` + secret + `"}`)}, Answer: Body{Data: []byte(`{"detail":"\"userName\" is \"` + secret + `\"; expected is something else"}`)}},
		"cut answer":  {Body: Body{Data: []byte(`{"userName":"` + secret + long + `"}`)}, Answer: Body{Data: []byte(`{"detail":"userName is \"` + (secret + long)[:80] + `…\"; expected is something else"}`)}},
		"query":       {Query: "filter=userName+eq+%22" + secret + "%22&access_token=" + secret},
		"no JSON":     {Body: Body{Data: []byte(`{"userName":"` + secret)}},
		"form":        {Body: Body{Data: []byte(`client_secret=` + secret)}},
		"too long":    {Body: Body{Data: []byte(`{"userName":"` + secret + `"}`), Size: 1 << 20}},
		"not UTF-8":   {Body: Body{Data: []byte("{\"userName\":\"" + secret + "\xff\"}")}},
		"very deep":   {Body: Body{Data: []byte(strings.Repeat(`{"a":`, 100) + `"` + secret + `"` + strings.Repeat(`}`, 100))}},
		"two values":  {Body: Body{Data: []byte(`{} {"userName":"` + secret + `"}`)}},
		"by a filter": {Query: `filter=` + `name.formatted+eq+"` + secret + `"`, Answer: Body{Data: []byte(`{"detail":"name.formatted: found \"` + secret + `\"; expected is an operator"}`)}},
	} {
		t.Run(name, func(t *testing.T) {
			r.Method, r.Path, r.Status = "POST", "/scim/v2/Users", 400
			e := k.entry(r)
			l := &Reader{Mask: k.mask}
			v := l.refusal(&lookups{ctx: t.Context(), r: l}, &e)
			text := stringOf(t, v)
			if strings.Contains(text, "Barbara") {
				t.Errorf("it is still there: %s", text)
			}
		})
	}
}

func TestBodiesAreCut(t *testing.T) {
	k := keeper{mask: NewMask(nil), body: 20, base: "/scim/v2", types: types}
	body := []byte(`{"userName":"` + strings.Repeat("ä", 20) + `"}`)
	e := k.entry(&Request{Method: "POST", Path: "/scim/v2/Users", Body: Body{Data: body}})
	if e.Body.JSON != nil || e.Body.Start != `{"userName":"äää…` || e.Body.Size != int64(len(body)) {
		t.Errorf("%+v", e.Body)
	}
	k.body = 0
	if e = k.entry(&Request{Body: Body{Data: body}}); e.Body.Start != "" || e.Body.JSON != nil || !strings.Contains(e.Body.Why, "not kept") {
		t.Errorf("%+v", e.Body)
	}
}

func FuzzMask(f *testing.F) {
	for _, s := range []string{`{"password":"sesame"}`, `{"a":{"path":"password","value":["sesame",{"x":"sesame"}]}}`, `[{"token":1,"filter":"password eq \"sesame\""}]`, `{"urn:x:password":"sesame"}`} {
		f.Add([]byte(s))
	}
	m := NewMask([]string{"name"})
	f.Fuzz(func(t *testing.T, data []byte) {
		tree, err := parseTree(data)
		if err != nil {
			return
		}
		m.apply(tree)
		once := string(tree.append(nil))
		again, err := parseTree([]byte(once))
		if err != nil {
			t.Fatalf("the masked form of %q is no JSON: %q: %v", data, once, err)
		}
		m.apply(again)
		if twice := string(again.append(nil)); twice != once {
			t.Fatalf("masked twice %q is %q, and was %q", data, twice, once)
		}
	})
}
