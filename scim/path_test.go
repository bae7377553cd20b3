package scim

import (
	"errors"
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	for s, want := range map[string]PathExpr{
		"title":                       {Attr: AttrPath{Name: "title"}},
		"name.familyName":             {Attr: AttrPath{Name: "name", Sub: "familyName"}},
		"members.$ref":                {Attr: AttrPath{Name: "members", Sub: "$ref"}},
		"x-y_z$1":                     {Attr: AttrPath{Name: "x-y_z$1"}},
		EnterpriseUserURN:             {Attr: AttrPath{Name: EnterpriseUserURN}},
		UserURN + ":name.familyName":  {Attr: AttrPath{Name: UserURN + ":name.familyName"}},
		"https://example.com/v1:tag":  {Attr: AttrPath{Name: "https://example.com/v1:tag"}},
		"urn:example:acme:1.0":        {Attr: AttrPath{Name: "urn:example:acme:1.0"}},
		`emails[type eq "work"]`:      {Attr: AttrPath{Name: "emails"}},
		`emails[type eq "w"].value`:   {Attr: AttrPath{Name: "emails"}, Sub: "value"},
		`a[ b Eq "].c" ].$ref`:        {Attr: AttrPath{Name: "a"}, Sub: "$ref"},
		`members[value eq"2819c223"]`: {Attr: AttrPath{Name: "members"}},
		UserURN + `:emails[not (a pr) and b eq "x" or c pr].d`: {Attr: AttrPath{Name: UserURN + ":emails"}, Sub: "d"},
	} {
		got, err := ParsePath(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		if got.Attr != want.Attr || got.Sub != want.Sub || (got.Where != nil) != strings.Contains(s, "[") {
			t.Errorf("%s: %+v", s, got)
		}
		again, err := ParsePath(got.String())
		if err != nil || again.String() != got.String() {
			t.Errorf("%s prints as %s, which is %v, %v", s, got, again, err)
		}
	}
}

func TestParsePathErrors(t *testing.T) {
	for s, want := range map[string]string{
		"":                                  `at byte 0: found the end; expected is an attribute, in the form title, name.familyName,`,
		" title":                            `at byte 0: found " "; expected is an attribute`,
		"title ":                            `at byte 5: found " "; expected is the end`,
		"title nickName":                    `at byte 5: found " "; expected is the end`,
		"title,nickName":                    `at byte 5: found ","`,
		"/title":                            `at byte 0: found "/"`,
		"/emails/0/value":                   `at byte 0: found "/"`,
		"emails/0":                          `at byte 6: found "/"`,
		"a.b.c":                             `at byte 0: "a.b.c" is no attribute and sub-attribute`,
		"name.":                             `at byte 5: found the end behind "name."; expected is a name`,
		".name":                             `at byte 0: found "."`,
		"name..x":                           `"name..x" is no attribute and sub-attribute`,
		"name.0":                            `"name.0" is no attribute and sub-attribute`,
		"emails[0]":                         `at byte 7: found "0"; expected is a comparison, such as type eq "work"`,
		"emails[0].value":                   `at byte 7: found "0"`,
		"emails[]":                          `at byte 7: found "]"`,
		"emails[":                           `at byte 7: found the end`,
		`emails[type eq "work"`:             `at byte 21: found the end; expected is "and" or "or" after a blank, or the "]" that closes byte 6`,
		`emails[type foo "work"]`:           `at byte 12: "foo" is no operator`,
		`emails[type eq work]`:              `at byte 15: found something that is not in double quotes`,
		`emails[type eq "work"]value`:       `at byte 22: found "value"; expected is the end`,
		`emails[type eq "work"].`:           `at byte 23: found the end behind the dot`,
		`emails[type eq "work"]. x`:         `at byte 23: found " " behind the dot`,
		`emails[type eq "work"].a.b`:        `at byte 24: found "."; expected is the end`,
		`emails[type eq "work"].a[b pr]`:    `at byte 24: found "["; expected is the end`,
		`emails[type eq "work"] pr`:         `at byte 22: found " "; expected is the end`,
		`emails[type eq "work"] and x`:      `at byte 22: found " "`,
		`emails [type eq "work"]`:           `at byte 6: found " "`,
		`emails.value[a pr]`:                `at byte 12: found "["; expected is the end`,
		`emails[a[b pr]]`:                   `at byte 8: brackets inside of brackets`,
		`[type eq "work"]`:                  `at byte 0: found "["`,
		"title\x00":                         `at byte 5: found "\x00"`,
		"tit\xffle":                         `at byte 3: this is no UTF-8`,
		"urn:x:":                            `found the end behind "urn:x:"; expected is a name`,
		strings.Repeat("x", 9000):           `the path has 9000 bytes, more than 8192`,
		"emails[" + strings.Repeat("(", 99): `nested deeper than 50 levels`,
	} {
		x, err := ParsePath(s)
		var se *Error
		if !errors.As(err, &se) {
			t.Errorf("%s: is read as %s, %v", clip(s), x, err)
			continue
		}
		if se.Status != 400 || se.Type != InvalidPath || !strings.Contains(se.Detail, want) {
			t.Errorf("%s:\n got %v\nwant %s", clip(s), err, want)
		}
	}
}

func TestBindPath(t *testing.T) {
	types := everyTypes(t)
	user, group := types.ByName("User"), types.ByName("Group")
	for _, tt := range []struct {
		typ        *ResourceType
		path, want string
		o          BindOptions
	}{
		{user, "title", "title", BindOptions{}},
		{user, "TITLE", "title", BindOptions{}},
		{user, "Name.FAMILYname", "name.familyName", BindOptions{}},
		{user, "meta.created", "meta.created", BindOptions{}},
		{user, "id", "id", BindOptions{}},
		{user, UserURN + ":title", "title", BindOptions{}},
		{user, UserURN + ":externalId", "externalId", BindOptions{}},
		{user, strings.ToUpper(UserURN) + ":NAME.familyname", "name.familyName", BindOptions{}},
		{user, EnterpriseUserURN, EnterpriseUserURN, BindOptions{}},
		{user, strings.ToUpper(EnterpriseUserURN), EnterpriseUserURN, BindOptions{}},
		{user, EnterpriseUserURN + ":Department", EnterpriseUserURN + ":department", BindOptions{}},
		{user, EnterpriseUserURN + ":manager.value", EnterpriseUserURN + ":manager.value", BindOptions{}},
		{user, `emails[Type EQ "Work"].Value`, `emails[Type eq "Work"].value`, BindOptions{}},
		{user, `emails[type eq "work" and (value pr or primary eq true)]`, `emails[type eq "work" and (value pr or primary eq true)]`, BindOptions{}},
		{user, UserURN + `:emails[type eq "work"].value`, `emails[type eq "work"].value`, BindOptions{}},
		{user, every + `:tags[value eq "x"]`, every + `:tags[value eq "x"]`, BindOptions{}},
		{user, every + `:things[level gt 3].marks`, every + `:things[level gt 3].marks`, BindOptions{}},
		{user, "emails.type", "emails.type", BindOptions{}},
		{group, `members[value eq "x"].display`, `members[value eq "x"].display`, BindOptions{}},
		{user, "password", "password", BindOptions{}},

		{user, EnterpriseUserURN + ".manager", EnterpriseUserURN + ":manager", BindOptions{DotAfterURN: true}},
		{user, EnterpriseUserURN + ".manager.value", EnterpriseUserURN + ":manager.value", BindOptions{DotAfterURN: true}},
		{user, UserURN + ".name.familyName", "name.familyName", BindOptions{DotAfterURN: true}},
		{user, every + `.tags[value eq "x"]`, every + `:tags[value eq "x"]`, BindOptions{DotAfterURN: true}},
		{user, "manager", EnterpriseUserURN + ":manager", BindOptions{BareExtension: true}},
		{user, "manager.value", EnterpriseUserURN + ":manager.value", BindOptions{BareExtension: true}},
		{user, "title", "title", BindOptions{BareExtension: true}},
		{user, `things[value eq "x"].level`, every + `:things[value eq "x"].level`, BindOptions{BareExtension: true}},
		{user, `roles[primary eq "True"].value`, `roles[primary eq "True"].value`, BindOptions{BooleanText: true}},
	} {
		x, err := ParsePath(tt.path)
		if err != nil {
			t.Errorf("%s: %v", tt.path, err)
			continue
		}
		p, err := BindPath(tt.typ, x, tt.o)
		if err != nil || p.String() != tt.want {
			t.Errorf("%s is %s, %v; want %s", tt.path, p, err, tt.want)
		}
		if tt.o == (BindOptions{}) {
			continue
		}
		if strict, err := BindPath(tt.typ, x, BindOptions{}); err == nil && strict.String() != tt.want {
			t.Errorf("%s is %s, and with options %s", tt.path, strict, tt.want)
		} else if err == nil && !strings.HasPrefix(tt.path, "title") {
			t.Errorf("%s needs no option", tt.path)
		}
	}
}

func TestBindPathErrors(t *testing.T) {
	types := everyTypes(t)
	user := types.ByName("User")
	for s, want := range map[string]string{
		"noSuchAttribute":                   `"noSuchAttribute" is no attribute of a User`,
		"userNane":                          `did you mean "userName"?`,
		"name.noSuch":                       `"noSuch" is no sub-attribute of "name"; expected is "formatted"`,
		"title.x":                           `"title" is of the type "string" and has no sub-attributes`,
		"urn:example:nope:2.0:User:x":       `belongs to no schema of a User; they are "` + UserURN + `"`,
		"urn:example:nope:2.0:User":         `belongs to no schema`,
		GroupURN + ":displayName":           `belongs to no schema`,
		UserURN:                             `is the schema of a User and no attribute; expected is a name behind it: ` + UserURN + `:userName`,
		UserURN + ":nope":                   `"nope" is no attribute of the schema "` + UserURN + `"`,
		UserURN + ":department":             `is no attribute of the schema`,
		UserURN + ":" + EnterpriseUserURN:   `is no attribute of the schema`,
		UserURN + "x:title":                 `belongs to no schema`,
		EnterpriseUserURN + ":nope":         `is no attribute of the schema "` + EnterpriseUserURN + `"`,
		EnterpriseUserURN + ":title":        `is no attribute of the schema`,
		EnterpriseUserURN + ":manager.x":    `"x" is no sub-attribute of "` + EnterpriseUserURN + `:manager"; expected is "value", "$ref" or "displayName"`,
		EnterpriseUserURN + ":a.b.c":        `"a" is no attribute`,
		EnterpriseUserURN + ":manager..":    `expected is a name`,
		EnterpriseUserURN + ".manager":      `belongs to no schema`,
		"manager":                           `"manager" is no attribute of a User`,
		"members":                           `"members" is no attribute of a User`,
		`title[value eq "x"]`:               `"title" has one value and not several to choose from; leave out the brackets`,
		`name[familyName eq "x"]`:           `"name" has one value and not several to choose from`,
		EnterpriseUserURN + `[manager pr]`:  `is a schema extension and has no values to choose from`,
		UserURN + `:emails.type[a pr]`:      `is a sub-attribute; brackets stand behind the attribute: emails[...]`,
		`emails[tipe eq "work"].value`:      `the path, at byte 7: "tipe" is no sub-attribute of "emails"; did you mean "type"?`,
		`emails[primary gt true]`:           `at byte 7: "emails.primary" is of the type "boolean", which has no gt`,
		`emails[primary eq "True"]`:         `"emails.primary" is compared with a string; expected is true or false`,
		`emails[type eq "work"].nope`:       `"nope" is no sub-attribute of "emails"`,
		every + `:tags[value eq "x"].y`:     `has no sub-attributes, and so no "y"`,
		every + `:tags[x eq "x"]`:           `has simple values, which are called "value" in brackets`,
		every + `:things[secret eq "x"]`:    `is never shown`,
		`members[value eq "x"].displayName`: `"members" is no attribute of a User`,
	} {
		x, err := ParsePath(s)
		p := Path{}
		if err == nil {
			p, err = BindPath(user, x, BindOptions{})
		}
		var se *Error
		if !errors.As(err, &se) {
			t.Errorf("%s is %s, %v", s, p, err)
			continue
		}
		if se.Status != 400 || se.Type != InvalidPath || !strings.Contains(se.Detail, want) {
			t.Errorf("%s:\n got %v\nwant %s", s, err, want)
		}
		if p != (Path{}) {
			t.Errorf("%s: an error and the path %s", s, p)
		}
	}
	// A31: RFC 7644 figure 8 has a sub-attribute that RFC 7643 does not.
	x, err := ParsePath(`members[value eq "2819c223"].displayName`)
	if err == nil {
		_, err = BindPath(types.ByName("Group"), x, BindOptions{})
	}
	if err == nil || !strings.Contains(err.Error(), `"displayName" is no sub-attribute of "members"; expected is "value", "$ref", "type" or "display"`) {
		t.Error(err)
	}
}

func TestBindAttr(t *testing.T) {
	user := builtinTypes(t).ByName("User")
	for name, want := range map[string]string{
		"userName": "userName", "NAME.givenname": "name.givenName", "urn:ietf:params:scim:schemas:core:2.0:User:emails": "emails",
		EnterpriseUserURN: EnterpriseUserURN, EnterpriseUserURN + ":manager.displayName": EnterpriseUserURN + ":manager.displayName", "password": "password",
	} {
		if p, err := BindAttr(user, name, BindOptions{}); err != nil || p.String() != want {
			t.Errorf("%s is %s, %v; want %s", name, p, err, want)
		}
	}
	for _, name := range []string{"", "nope", "userName ", "userName,title", `emails[type eq "work"]`, "a.b.c", "name.", "1", UserURN, "\xff", strings.Repeat("x", 9000)} {
		p, err := BindAttr(user, name, BindOptions{})
		if err == nil {
			t.Errorf("%s is %s", clip(name), p)
			continue
		}
		clientError(t, err)
	}
}

// Where a schema's id ends is decided by the ids themselves: the longest that fits, whatever stands in it.
func TestLongestSchema(t *testing.T) {
	schema := func(id string, names ...string) *Schema {
		s := &Schema{ID: id, Name: id}
		for _, n := range names {
			s.Attributes = append(s.Attributes, &Attribute{Name: n, Type: Complex, Sub: []*Attribute{{Name: "value"}, {Name: "0-1"}}})
		}
		return s
	}
	base := schema("urn:example:core:Device", "serial", "acme")
	exts := []*Schema{
		schema("urn:example:ext", "a", "b"), schema("urn:example:ext:deep", "a", "c"), schema("urn:example:ext:deep:2.0", "a", "d"),
		schema("https://schemas.example.com/scim/v1.0?x=1", "badge"), schema("urn:example:ext.dotted", "a"),
	}
	typ := &ResourceType{Name: "Device", Endpoint: "/Devices", Schema: base}
	for _, e := range exts {
		typ.Extensions = append(typ.Extensions, Extension{Schema: e})
	}
	if _, err := newTypes(append(exts, base), []*ResourceType{typ}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, ext, attr, sub string
		dot                  bool
	}{
		{"urn:example:ext:a", "urn:example:ext", "a", "", false},
		{"urn:example:ext:b.value", "urn:example:ext", "b", "value", false},
		{"urn:example:ext:deep", "urn:example:ext:deep", "", "", false},
		{"urn:example:ext:deep:a", "urn:example:ext:deep", "a", "", false},
		{"URN:example:EXT:Deep:C.Value", "urn:example:ext:deep", "c", "value", false},
		{"urn:example:ext:deep:2.0", "urn:example:ext:deep:2.0", "", "", false},
		{"urn:example:ext:deep:2.0:a.value", "urn:example:ext:deep:2.0", "a", "value", false},
		{"urn:example:ext:deep:2.0:d", "urn:example:ext:deep:2.0", "d", "", false},
		{"urn:example:ext:deep:2.0.d.value", "urn:example:ext:deep:2.0", "d", "value", true},
		{"https://schemas.example.com/scim/v1.0?x=1", "https://schemas.example.com/scim/v1.0?x=1", "", "", false},
		{"https://schemas.example.com/scim/v1.0?x=1:badge.value", "https://schemas.example.com/scim/v1.0?x=1", "badge", "value", false},
		{"urn:example:ext.dotted:a", "urn:example:ext.dotted", "a", "", false},
		{"urn:example:ext.dotted:a", "urn:example:ext.dotted", "a", "", true},
		{"urn:example:ext.a", "urn:example:ext", "a", "", true},
		{"urn:example:core:device:acme.value", "", "acme", "value", false},
	} {
		p, err := BindAttr(typ, tt.name, BindOptions{DotAfterURN: tt.dot})
		name := func(a *Attribute) string {
			if a == nil {
				return ""
			}
			return a.Name
		}
		if err != nil || name(p.Ext) != tt.ext || name(p.Attr) != tt.attr || name(p.Sub) != tt.sub {
			t.Errorf("%s is %q %q %q, %v", tt.name, name(p.Ext), name(p.Attr), name(p.Sub), err)
		}
	}
	for _, name := range []string{"urn:example:ext:deep:b", "urn:example:ext:d", "urn:example:ext.a", "urn:example:extra:a", "urn:example:ext:deep:2.0.d", "https://schemas.example.com/scim/v1:badge"} {
		if p, err := BindAttr(typ, name, BindOptions{}); err == nil {
			t.Errorf("%s is %s", name, p)
		}
	}
}
