package scim

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"scimbox/storage"
)

// everyType is an extension of User with an attribute of every type.
const everyType = `{"id":"urn:example:params:scim:schemas:extension:every:2.0:User","name":"Every","attributes":[
	{"name":"n","type":"integer"}, {"name":"d","type":"decimal"}, {"name":"at","type":"dateTime"}, {"name":"flag","type":"boolean"},
	{"name":"blob","type":"binary"}, {"name":"link","type":"reference","referenceTypes":["external"]},
	{"name":"exact","type":"string","caseExact":true}, {"name":"plain","type":"string"},
	{"name":"tags","type":"string","multiValued":true}, {"name":"scores","type":"integer","multiValued":true},
	{"name":"pin","type":"string","mutability":"writeOnly","returned":"never"},
	{"name":"box","type":"complex","subAttributes":[{"name":"value","type":"string"},{"name":"size","type":"integer"}]},
	{"name":"things","type":"complex","multiValued":true,"subAttributes":[
		{"name":"value","type":"string"}, {"name":"level","type":"integer"}, {"name":"when","type":"dateTime"},
		{"name":"on","type":"boolean"}, {"name":"marks","type":"string","multiValued":true},
		{"name":"secret","type":"string","returned":"never"}]}
]}`

const every = "urn:example:params:scim:schemas:extension:every:2.0:User"

func everyTypes(t testing.TB) *Types {
	t.Helper()
	file := filepath.Join(t.TempDir(), "every.json")
	if err := os.WriteFile(file, []byte(everyType), 0o600); err != nil {
		t.Fatal(err)
	}
	types, err := NewTypes(file)
	if err != nil {
		t.Fatal(err)
	}
	return types
}

// resourceOf makes a resource of what a client might send.
func resourceOf(t testing.TB, typ *ResourceType, body string) *Resource {
	t.Helper()
	n, err := parseJSON([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	d := decoder{t: typ, q: quirks{missingSchemas: true}, strict: true}
	o, err := d.resource(n)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2011, 5, 13, 4, 42, 34, 0, time.UTC)
	r := &Resource{Type: typ, ID: "2819C223", Stamp: storage.Stamp{Created: at, Modified: at.Add(time.Hour), Version: 7}, Object: o}
	r.complete("https://example.com/scim/v2")
	return r
}

func bindText(t testing.TB, typ *ResourceType, s string, o BindOptions) *Filter {
	t.Helper()
	e, err := ParseFilter(s, FilterOptions{ValuePathSub: true})
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	f, err := BindFilter(typ, e, o)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return f
}

// ada is the resource that the tables of this file ask about.
const ada = `{
	"userName":"BJensen@corp.example", "externalId":"Ext-1", "active":true, "title":"Tour Guide", "nickName":"", "displayName":"Straße",
	"name":{"familyName":"O'Malley","givenName":"Bárbara"},
	"emails":[{"value":"b@one.test","type":"work","primary":true},{"value":"b@two.test","type":"home"},{"value":"b@three.test"}],
	"x509Certificates":[{"value":"AAEC/+8="}],
	"phoneNumbers":[{"type":"work"}],
	"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"Risk","manager":{"value":"M-1"}},
	"` + every + `":{"n":10,"d":1.50,"at":"2020-01-01T12:00:00+02:00","flag":false,"blob":"+/8=","link":"https://X/y",
		"exact":"aBc","plain":"aBc","tags":["Red","green"],"scores":[1,20],"pin":"1234","box":{"value":"B","size":3},
		"things":[{"value":"x","level":1,"when":"2020-01-01T00:00:00Z","on":true},{"value":"y","level":20,"on":false,"marks":["p","q"]},{"level":3}]}
}`

// matchTable is what each filter answers about ada.
var matchTable = map[string]bool{
	// F1: the operators, on text without case
	`userName eq "bjensen@CORP.example"`: true, `userName eq "bjensen"`: false,
	`userName ne "bjensen@corp.example"`: false, `userName ne "bjensen"`: true,
	`userName co "SEN@c"`: true, `userName co "bjensen@corp.example"`: true, `userName co ""`: true, `userName co "sen@x"`: false,
	`userName sw "bj"`: true, `userName sw "bjensen@corp.example"`: true, `userName sw "jensen"`: false, `userName sw "bjensen@corp.example!"`: false,
	`userName ew "EXAMPLE"`: true, `userName ew "bjensen@corp.example"`: true, `userName ew "corp"`: false,
	`userName pr`: true, `profileUrl pr`: false,
	`userName gt "bjensen"`: true, `userName gt "BJENSEN@CORP.EXAMPLE"`: false, `userName ge "BJENSEN@CORP.EXAMPLE"`: true,
	`userName lt "c"`: true, `userName lt "B"`: false, `userName le "bjensen@corp.example"`: true, `userName le "A"`: false,

	// F6: caseExact
	`externalId eq "Ext-1"`: true, `externalId eq "ext-1"`: false, `externalId ne "ext-1"`: true, `externalId co "xt"`: true, `externalId co "XT"`: false,
	`externalId sw "Ex"`: true, `externalId sw "ex"`: false, `externalId ew "-1"`: true, `externalId gt "Ext-0"`: true, `externalId lt "a"`: true,
	every + `:exact sw "aB"`: true, every + `:exact sw "ab"`: false, every + `:plain sw "AB"`: true, every + `:link eq "https://x/y"`: false,
	`id eq "2819C223"`: true, `id eq "2819c223"`: false, `id sw "2819"`: true,

	// One fold for all
	`displayName eq "STRASSE"`: true, `displayName sw "STRAS"`: true, `displayName co "ss"`: true, `displayName ew "SSE"`: true,
	`name.givenName eq "Ba\u0301rbara"`: true, `name.givenName sw "b"`: true, `name.givenName sw "ba"`: false, `name.givenName sw "BÁ"`: true,
	`title co "ｇｕｉｄｅ"`: true,

	// F2: numbers and instants by value
	every + `:n eq 10`: true, every + `:n eq 10.0`: true, every + `:n eq 1e1`: true, every + `:n ne 10`: false, every + `:n gt 9`: true, every + `:n gt 5`: true,
	every + `:n lt 9`: false, every + `:n lt 100`: true, every + `:n ge 10`: true, every + `:n le 10`: true, every + `:n gt 10.5`: false, every + `:n lt 10.5`: true,
	every + `:n gt -12345678901234567890`: true, every + `:n lt 12345678901234567890`: true,
	every + `:d eq 1.5`: true, every + `:d gt 1.0e0`: true, every + `:d lt 15e-1`: false, every + `:d pr`: true,
	every + `:at eq "2020-01-01T10:00:00Z"`: true, every + `:at eq "2020-01-01T10:00:00.0000000"`: true, every + `:at ne "2020-01-01T12:00:00Z"`: true,
	every + `:at lt "2020-01-01T11:00:00Z"`: true, every + `:at ge "2020-01-01T11:00:00+01:00"`: true, every + `:at gt "2020-01-01T11:00:00+01:00"`: false,
	every + `:at gt "0001-01-03T00:00:00.0000000Z"`: true, every + `:at sw "2020-01"`: true, every + `:at co "12:00"`: true,
	every + `:scores eq 20`: true, every + `:scores gt 19`: true, every + `:scores lt 1`: false, every + `:scores ne 1`: false, every + `:scores ne 2`: true,

	// Booleans and binary
	`active eq true`: true, `active eq false`: false, `active ne false`: true, `active pr`: true,
	every + `:flag eq false`: true, every + `:flag ne true`: true, every + `:flag pr`: true, every + `:flag eq true`: false,
	every + `:blob eq "-_8"`: true, every + `:blob eq "AAEC"`: false, every + `:blob ne "AAEC"`: true, `x509Certificates.value eq "AAEC/+8"`: true, `x509Certificates eq "AAEC/+8="`: true,

	// M11, A20: null, nothing and empty text
	`nickName pr`: false, `nickName eq ""`: true, `nickName eq null`: true, `nickName ne null`: false, `title eq null`: false, `title ne null`: true,
	`profileUrl eq null`: true, `profileUrl ne null`: false, `profileUrl eq ""`: false, `emails eq null`: false, `ims eq null`: true, `ims ne null`: false,
	every + `:flag ne null`: true, `name.middleName eq null`: true,

	// A19: ne and not on nothing, and on many
	`profileUrl ne "x"`: true, `not (profileUrl eq "x")`: true, `profileUrl gt ""`: false, `profileUrl co ""`: false, `profileUrl sw ""`: false,
	`emails.type ne "work"`: false, `emails.type ne "other"`: true, `not (emails.type eq "work")`: false, `ims.value ne "x"`: true,
	every + `:n eq 5 or ` + every + `:n ne 5`: true,

	// F4: precedence
	`title eq "x" or active eq true and userName pr`: true, `(title eq "x" or active eq true) and profileUrl pr`: false,
	`active eq true or title eq "x" and profileUrl pr`: true, `not (active eq true) or title pr`: true, `not (active eq true or title pr)`: false,
	`not (not (title pr))`: true, `NOT (profileUrl PR) AND TITLE Pr`: true,

	// F5, F10: names without case, with URNs
	`USERNAME EQ "bjensen@corp.example"`: true, `Name.FamilyName eq "o'malley"`: true,
	`urn:ietf:params:scim:schemas:core:2.0:User:userName sw "b"`:                   true,
	`URN:IETF:PARAMS:SCIM:SCHEMAS:CORE:2.0:USER:NAME.givenname pr`:                 true,
	`urn:ietf:params:scim:schemas:core:2.0:User:meta.resourceType eq "User"`:       true,
	`urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department eq "R"`: false,
	EnterpriseUserURN + `:department eq "risk"`:                                    true, EnterpriseUserURN + `:manager.value eq "M-1"`: true,
	EnterpriseUserURN + ` pr`: true, every + ` pr`: true, EnterpriseUserURN + ` eq null`: false,
	`schemas eq "` + EnterpriseUserURN + `"`: true, `schemas eq "URN:ietf:params:scim:schemas:core:2.0:User"`: true, `schemas eq "urn:x"`: false,

	// meta
	`meta.created eq "2011-05-13T04:42:34Z"`: true, `meta.created gt "2001-01-01T00:00:00Z"`: true, `meta.lastModified gt "2011-05-13T04:42:34Z"`: true,
	`meta.lastModified le "2199-12-31T23:59:59.999+02:00"`: true, `meta.resourceType eq "User"`: true, `meta.version eq "W/\"7\""`: true,
	`meta.location ew "/Users/2819C223"`: true, `meta pr`: true,

	// F7, F9: many values
	`emails co "two.test"`: true, `emails.value co "two.test"`: true, `emails eq "b@three.test"`: true, `emails sw "c"`: false, `emails pr`: true, `ims pr`: false,
	`name pr`: true, `addresses pr`: false, `emails.type eq "home" and emails.value eq "b@one.test"`: true,
	every + `:tags eq "RED"`: true, every + `:tags co "ree"`: true, every + `:tags eq "blue"`: false, every + `:tags pr`: true,
	every + `:things.marks eq "q"`: true, every + `:things.level gt 19`: true, `phoneNumbers.value pr`: false, `phoneNumbers pr`: true,

	// F8: brackets
	`emails[type eq "work" and value co "one"]`: true, `emails[type eq "work" and value co "two"]`: false, `emails[type eq "work" or value co "zzz"]`: true,
	`emails[not (type eq "work")]`: true, `emails[not (type pr)]`: true, `emails[type ne "work" and type ne "home"]`: true, `emails[type eq null]`: true,
	`emails[type eq "work" and (value co "one" or value co "two")]`: true, `not (emails[type eq "work"])`: false, `not (emails[type eq "other"])`: true,
	`emails[primary eq true and value sw "b"]`: true, `emails[primary eq true and type eq "home"]`: false, `emails[primary eq false]`: false,
	`ims[not (type eq "x")]`: false, `ims[type ne "x"]`: false, `Emails[Type EQ "Work"]`: true,
	`urn:ietf:params:scim:schemas:core:2.0:User:emails[type eq "home"]`: true, `emails[value pr] and ims[value pr]`: false,
	every + `:things[level gt 10 and marks eq "p"]`: true, every + `:things[level lt 10 and marks eq "p"]`: false, every + `:things[value ne "x" and level eq 3]`: true,
	every + `:things[when lt "2020-01-02T00:00:00Z"]`: true, every + `:things[on eq false]`: true, every + `:things[marks ne "p" and value eq "y"]`: false,
	every + `:tags[value eq "red"]`: true, every + `:tags[value eq "red" and value eq "green"]`: false, every + `:tags[not (value sw "r")]`: true,
	every + `:scores[value gt 1 and value lt 20]`: false, `name[familyName co "mal"]`: true, `name[familyName co "mal" and middleName pr]`: false,
	EnterpriseUserURN + `[department eq "risk" and manager.value eq "M-1"]`: true, EnterpriseUserURN + `[department eq "x"]`: false,
	every + `[tags eq "red" and not (n eq 5)]`: true, every + `[things co "y"]`: true,

	// Entra's matching property
	`emails[type eq "work"].value eq "b@one.test"`: true, `emails[type eq "work"].value eq "b@two.test"`: false,
}

func TestMatch(t *testing.T) {
	types := everyTypes(t)
	r := resourceOf(t, types.ByName("User"), ada)
	for s, want := range matchTable {
		f := bindText(t, r.Type, s, BindOptions{})
		got, err := f.Match(r)
		if err != nil || got != want {
			t.Errorf("%s is %t, %v; want %t", s, got, err, want)
		}
		// What nobody can ask of this type changes nothing about what can be asked.
		if got, err := bindText(t, r.Type, s, BindOptions{ForeignUnassigned: true, BooleanText: true, ComplexValue: true}).Match(r); err != nil || got != want {
			t.Errorf("with options %s is %t, %v; want %t", s, got, err, want)
		}
		// The opposite is the opposite: there is no third truth value.
		if got, err := bindText(t, r.Type, "not ("+f.String()+")", BindOptions{}).Match(r); err != nil || got == want {
			t.Errorf("not (%s) is %t, %v; want %t", s, got, err, !want)
		}
	}
}

// A resource without any value: only what asks for nothing holds.
func TestMatchNothing(t *testing.T) {
	types := everyTypes(t)
	r := resourceOf(t, types.ByName("User"), `{"userName":"x"}`)
	for s, want := range map[string]bool{
		EnterpriseUserURN + ` pr`: false, EnterpriseUserURN + ` eq null`: true, EnterpriseUserURN + `[not (department eq "x")]`: false,
		EnterpriseUserURN + `[department ne "x"]`: false, EnterpriseUserURN + `:department ne "x"`: true, EnterpriseUserURN + `:manager.value eq null`: true,
		every + `:things[not (level gt 1)]`: false, every + `:flag eq false`: false, every + `:flag ne true`: true, every + `:n lt 5`: false, every + `:n ge 0`: false,
		`name[not (familyName eq "x")]`: false, `not (name[familyName eq "x"])`: true,
	} {
		if got, err := bindText(t, r.Type, s, BindOptions{}).Match(r); err != nil || got != want {
			t.Errorf("%s is %t, %v; want %t", s, got, err, want)
		}
	}
}

func TestBindFilterErrors(t *testing.T) {
	types := everyTypes(t)
	user := types.ByName("User")
	for s, want := range map[string]string{
		`usrName eq "x"`:                        `at byte 0: "usrName" is no attribute of a User; did you mean "userName"?`,
		`shoeSizeInEurope eq 42`:                `"shoeSizeInEurope" is no attribute of a User; the schemas are found at /Schemas`,
		`title pr and name.famlyName eq "x"`:    `at byte 13: "famlyName" is no sub-attribute of "name"; did you mean "familyName"?`,
		`userName.x eq "x"`:                     `"userName" is of the type "string" and has no sub-attributes, and so no "x"`,
		`urn:example:nope:2.0:User:a eq "x"`:    `"urn:example:nope:2.0:User:a" belongs to no schema of a User; they are "` + UserURN + `", "` + EnterpriseUserURN + `" and "` + every + `"`,
		UserURN + ` pr`:                         `is the schema of a User and no attribute`,
		UserURN + `:nope pr`:                    `"nope" is no attribute of the schema "` + UserURN + `"`,
		UserURN + `:department pr`:              `is no attribute of the schema`,
		EnterpriseUserURN + `:userName pr`:      `is no attribute of the schema "` + EnterpriseUserURN + `"`,
		EnterpriseUserURN + `.department pr`:    `belongs to no schema`,
		EnterpriseUserURN + `:manager.a.b pr`:   `is no sub-attribute of "` + EnterpriseUserURN + `:manager"`,
		`department eq "x"`:                     `is no attribute of a User`,
		`manager.value eq "x"`:                  `is no attribute of a User`,
		`emails[tpe eq "work"]`:                 `at byte 7: "tpe" is no sub-attribute of "emails"; did you mean "type"?`,
		`emails[value.x eq "work"]`:             `"value.x" stands in the brackets of "emails"; expected is the name of a sub-attribute alone`,
		`emails[` + UserURN + `:type eq "x"]`:   `stands in brackets, where names have no URN`,
		`userName[value eq "x"]`:                `"userName" has one simple value; compare it without brackets`,
		UserURN + `:emails.type[a pr]`:          `"emails.type" is a sub-attribute; brackets stand behind the attribute: emails[...]`,
		every + `:tags[type eq "x"]`:            `has simple values, which are called "value" in brackets, and not "type"`,
		`name eq "x"`:                           `"name" is complex and can only be asked for by pr; name a sub-attribute: "formatted"`,
		`addresses co "x"`:                      `"addresses" is complex and can only be asked for by pr`,
		`meta gt "x"`:                           `"meta" is complex`,
		EnterpriseUserURN + ` eq "x"`:           `is complex and can only be asked for by pr; name a sub-attribute: "employeeNumber"`,
		EnterpriseUserURN + `:manager eq "x"`:   `is complex and can only be asked for by pr; name a sub-attribute: "value", "$ref" or "displayName"`,
		every + `:box eq "x"`:                   `is complex`,
		`active gt true`:                        `at byte 0: "active" is of the type "boolean", which has no gt; it can be compared by eq and ne`,
		`active sw "t"`:                         `has no sw`,
		`emails[primary le false]`:              `"emails.primary" is of the type "boolean", which has no le`,
		`x509Certificates.value ge "AAAA"`:      `"x509Certificates.value" is of the type "binary", which has no ge`,
		`x509Certificates.value co "AAAA"`:      `which has no co`,
		`x509Certificates gt "AAAA"`:            `which has no gt`,
		`x509Certificates.value eq "A"`:         `is compared with text that is not base64`,
		`x509Certificates.value eq 5`:           `is compared with the number 5; expected is binary data in base64`,
		`active eq "maybe"`:                     `"active" is compared with a string; expected is true or false`,
		`active eq "true"`:                      `"active" is compared with a string; expected is true or false`,
		`active eq 1`:                           `is compared with the number 1`,
		`userName eq 5`:                         `"userName" is compared with the number 5; expected is a string`,
		`userName eq true`:                      `"userName" is compared with true; expected is a string`,
		every + `:n eq "5"`:                     `is compared with a string; expected is a number`,
		every + `:d co 5`:                       `is a number, and co compares text; there are eq, ne, gt`,
		`meta.created gt "2020-01-01"`:          `"meta.created" is compared with text that is no dateTime; expected is the form 2026-01-31T13:45:00Z`,
		`meta.created gt 2020`:                  `"meta.created" is compared with the number 2020; expected is a dateTime`,
		`title gt null`:                         `null has no order and no parts`,
		`title co null`:                         `null has no order and no parts`,
		`active ge null`:                        `null has no order and no parts`,
		`password eq "Secret-1"`:                `"password" is never shown, and so nothing can be asked about it`,
		`password sw "S"`:                       `"password" is never shown`,
		`password pr`:                           `"password" is never shown`,
		`password eq null`:                      `"password" is never shown`,
		`userName pr and not (password pr)`:     `at byte 21: "password" is never shown`,
		every + `:pin eq "1"`:                   `is never shown`,
		every + `:things[secret eq "1"]`:        `is never shown`,
		every + `:things.secret pr`:             `is never shown`,
		every + `[pin eq "1"]`:                  `is never shown`,
		`members.value eq "x"`:                  `"members" is no attribute of a User`,
		`title pr or (active pr and nope eq 5)`: `at byte 27: "nope" is no attribute of a User`,
	} {
		e, err := ParseFilter(s, FilterOptions{})
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		f, err := BindFilter(user, e, BindOptions{})
		var se *Error
		if !errors.As(err, &se) {
			t.Errorf("%s means %v, %v", s, f, err)
			continue
		}
		if se.Status != 400 || se.Type != InvalidFilter || !strings.Contains(se.Detail, want) || !strings.HasPrefix(se.Detail, "the filter, at byte ") {
			t.Errorf("%s\n got %v\nwant %s", s, err, want)
		}
		if strings.Contains(se.Detail, "Secret-1") || strings.Contains(se.Detail, "maybe") {
			t.Errorf("%s: the answer repeats what was compared with: %s", s, se.Detail)
		}
	}
}

func TestBindFilterOptions(t *testing.T) {
	types := everyTypes(t)
	r := resourceOf(t, types.ByName("User"), ada)
	for _, tt := range []struct {
		filter string
		o      BindOptions
		want   bool
	}{
		{`active eq "True"`, BindOptions{BooleanText: true}, true},
		{`active eq "FALSE"`, BindOptions{BooleanText: true}, false},
		{`emails[primary eq "True" and type eq "work"]`, BindOptions{BooleanText: true}, true},
		{`manager.value eq "M-1"`, BindOptions{BareExtension: true}, true},
		{`department eq "risk"`, BindOptions{BareExtension: true}, true},
		{`tags eq "red"`, BindOptions{BareExtension: true}, true},
		{`title eq "tour guide"`, BindOptions{BareExtension: true}, true},
		{`manager eq "M-1"`, BindOptions{BareExtension: true, ComplexValue: true}, true},
		{`manager eq "m-1"`, BindOptions{BareExtension: true, ComplexValue: true}, false}, // manager.value is caseExact (erratum 8472)
		{EnterpriseUserURN + `:manager eq "M-1"`, BindOptions{ComplexValue: true}, true},
		{every + `:box eq "b"`, BindOptions{ComplexValue: true}, true},
		{EnterpriseUserURN + `.department eq "risk"`, BindOptions{DotAfterURN: true}, true},
		{EnterpriseUserURN + `.manager.value eq "M-1"`, BindOptions{DotAfterURN: true}, true},
		{`members.value eq "x"`, BindOptions{ForeignUnassigned: true}, false},
		{`members.value ne "x"`, BindOptions{ForeignUnassigned: true}, true},
		{`members.value eq null`, BindOptions{ForeignUnassigned: true}, true},
		{`members.value ne null`, BindOptions{ForeignUnassigned: true}, false},
		{`members pr`, BindOptions{ForeignUnassigned: true}, false},
		{`not (members pr)`, BindOptions{ForeignUnassigned: true}, true},
		{`members[value eq "x"]`, BindOptions{ForeignUnassigned: true}, false},
		{`not (members[value eq "x"])`, BindOptions{ForeignUnassigned: true}, true},
		{`members.level gt 5 or userName pr`, BindOptions{ForeignUnassigned: true}, true},
		{`emails[nope pr]`, BindOptions{ForeignUnassigned: true}, false},
		{`emails[nope ne "x" and type eq "work"]`, BindOptions{ForeignUnassigned: true}, true},
		{`emails[nope eq "x" or type eq "work"]`, BindOptions{ForeignUnassigned: true}, true},
		{`urn:example:nope:2.0:User:a eq null`, BindOptions{ForeignUnassigned: true}, true},
		{every + `:tags[nope eq "red"]`, BindOptions{ForeignUnassigned: true}, false},
		{every + `[nope eq "red"]`, BindOptions{ForeignUnassigned: true}, false},
	} {
		got, err := bindText(t, r.Type, tt.filter, tt.o).Match(r)
		if err != nil || got != tt.want {
			t.Errorf("%s is %t, %v; want %t", tt.filter, got, err, tt.want)
		}
	}
	// What an option does not cover is refused with all of them too.
	all := BindOptions{DotAfterURN: true, BareExtension: true, BooleanText: true, ComplexValue: true, ForeignUnassigned: true}
	for _, s := range []string{
		`active eq "yes"`, `active gt "true"`, `name eq "x"`, `password pr`, `userName eq 5`, `members co null`, UserURN + ` pr`, EnterpriseUserURN + `. pr`,
	} {
		e, err := ParseFilter(s, FilterOptions{})
		if err == nil {
			var f *Filter
			if f, err = BindFilter(r.Type, e, all); err == nil {
				t.Errorf("%s means %v", s, f)
			}
		}
	}
}

// linkedTo gives r links that are counted: whether they were all read, or which one.
func linkedTo(r *Resource, a *Attribute, ids ...string) (read *[]string) {
	read = new([]string)
	element := func(id string) Value {
		return objectValue(&Object{fields: []field{{a.value(), textValue(id)}}})
	}
	r.load = func(b *Attribute, id string) (Value, error) {
		if b != a {
			return Value{}, nil
		}
		*read = append(*read, id)
		var l []Value
		for _, m := range ids {
			if id == "" || id == m {
				l = append(l, element(m))
			}
		}
		return listValue(l), nil
	}
	return read
}

// F17: whether somebody is a member is one point read, however many members there are.
func TestMatchLinks(t *testing.T) {
	types := builtinTypes(t)
	group := resourceOf(t, types.ByName("Group"), `{"displayName":"Ops"}`)
	user := resourceOf(t, types.ByName("User"), `{"userName":"x"}`)
	members, groups := group.Type.root.sub("members"), user.Type.root.sub("groups")
	readMembers, readGroups := linkedTo(group, members, "u1", "u2"), linkedTo(user, groups, "g1")
	for _, tt := range []struct {
		r      *Resource
		filter string
		want   bool
		read   string
	}{
		{group, `members.value eq "u1"`, true, "u1"},
		{group, `members.value eq "u9"`, false, "u9"},
		{group, `members.value ne "u1"`, false, "u1"},
		{group, `members.value ne "u9"`, true, "u9"},
		{group, `members eq "u2"`, true, "u2"},
		{group, `members[value eq "u2"]`, true, "u2"},
		{group, `not (members[value eq "u2"])`, false, "u2"},
		{group, `members[value eq "u2" and type eq "User"]`, false, "u2"},
		{group, `members[value eq "u2" and value eq "u1"]`, false, "u1"},
		{group, `members[value ne "u2"]`, true, ""},
		{group, `members[not (value eq "u2")]`, true, ""},
		{group, `members[value eq "u2" or value eq "u1"]`, true, ""},
		{group, `members.value sw "u"`, true, ""},
		{group, `members.value eq null`, false, ""},
		{group, `members pr`, true, ""},
		{group, `members.value eq ""`, false, ""},
		{group, `members.value eq "U1"`, false, "U1"},
		{group, `displayName eq "other" and members.value eq "u1"`, false, "none"},
		{group, `displayName eq "ops" or members.value eq "u1"`, true, "none"},
		{user, `groups.value eq "g1"`, true, "g1"},
		{user, `groups.value eq "g2"`, false, "g2"},
		{user, `groups[value eq "g1"]`, true, "g1"},
		{user, `groups pr`, true, ""},
	} {
		*readMembers, *readGroups = nil, nil
		got, err := bindText(t, tt.r.Type, tt.filter, BindOptions{}).Match(tt.r)
		if err != nil || got != tt.want {
			t.Errorf("%s is %t, %v; want %t", tt.filter, got, err, tt.want)
		}
		read := append(append([]string(nil), *readMembers...), *readGroups...)
		if len(read) != 1 && tt.read != "none" || len(read) > 0 && read[0] != tt.read {
			t.Errorf("%s reads %q, want %q", tt.filter, read, tt.read)
		}
	}
	broken := errors.New("the disk is gone")
	group.load = func(*Attribute, string) (Value, error) { return Value{}, broken }
	for _, s := range []string{`members.value eq "u1"`, `not (members[value eq "u1"])`, `displayName pr and members pr`} {
		if ok, err := bindText(t, group.Type, s, BindOptions{}).Match(group); err != broken || ok && s[0] != 'n' {
			t.Errorf("%s is %t, %v", s, ok, err)
		}
	}
	// Without a store what the client sent is asked.
	sent := resourceOf(t, types.ByName("Group"), `{"displayName":"Ops","members":[{"value":"u1"},{"value":"u2"}]}`)
	if ok, err := bindText(t, sent.Type, `members[value eq "u2"] and not (members.value eq "u3")`, BindOptions{}).Match(sent); !ok || err != nil {
		t.Errorf("%t, %v", ok, err)
	}
}

// What a client sees of a manager beside the id comes from the manager, and can be asked for as it is seen.
func TestMatchResolved(t *testing.T) {
	types := builtinTypes(t)
	r := resourceOf(t, types.ByName("User"), ada[:strings.Index(ada, `,
	"`+every)]+"}")
	name := r.Type.root.sub(EnterpriseUserURN).sub("manager").sub("displayName")
	resolved := 0
	r.resolve = func(a *Attribute, v Value) (Value, error) {
		resolved++
		v = v.Clone()
		v.obj.Set(name, textValue("The Boss"))
		return v, nil
	}
	for s, want := range map[string]bool{
		EnterpriseUserURN + `:manager.displayName eq "the boss"`:                 true,
		EnterpriseUserURN + `:manager[displayName co "boss" and value eq "M-1"]`: true,
		EnterpriseUserURN + `:manager.displayName eq null`:                       false,
	} {
		resolved = 0
		if ok, err := bindText(t, r.Type, s, BindOptions{}).Match(r); ok != want || err != nil || resolved != 1 {
			t.Errorf("%s is %t, %v, and %d managers were read", s, ok, err, resolved)
		}
	}
	resolved = 0
	if ok, err := bindText(t, r.Type, EnterpriseUserURN+`:manager.value eq "M-1"`, BindOptions{}).Match(r); !ok || err != nil || resolved != 0 {
		t.Errorf("%t, %v, and %d managers were read", ok, err, resolved)
	}
}

// The planner, PATCH and the quirks read a bound filter: what they read is what they expect.
func TestBoundForm(t *testing.T) {
	types := everyTypes(t)
	user := types.ByName("User")
	emails, x := user.root.sub("emails"), user.root.sub(every)
	f := bindText(t, user, `emails[type eq "work" and primary eq true]`, BindOptions{})
	if f.Op != OpValuePath || f.Path != (Path{Attr: emails}) || len(f.Args) != 1 {
		t.Fatalf("%+v", f)
	}
	inner := f.Args[0]
	if inner.Op != OpAnd || inner.Args[0].Path != (Path{Attr: emails, Sub: emails.sub("type")}) || !inner.Args[1].Value.equal(boolValue(true)) {
		t.Errorf("%+v", inner)
	}
	if v, ok := newElement(inner); !ok || string(v.appendJSON(nil)) != `{"type":"work","primary":true}` {
		t.Errorf("%s, %t", v.appendJSON(nil), ok)
	}
	f = bindText(t, user, every+`:tags[value eq "Red"]`, BindOptions{})
	if f.Args[0].Path != (Path{Ext: x, Attr: x.sub("tags")}) {
		t.Errorf("%+v", f.Args[0].Path)
	}
	f = bindText(t, user, `roles[primary eq "True"]`, BindOptions{BooleanText: true})
	if !f.Args[0].Value.equal(boolValue(true)) {
		t.Errorf("%+v", f.Args[0].Value)
	}
	if f = bindText(t, user, `emails co "X"`, BindOptions{}); f.Path != (Path{Attr: emails, Sub: emails.sub("value")}) || f.Value.text != "X" {
		t.Errorf("%+v", f)
	}
	if f = bindText(t, user, `title eq null`, BindOptions{}); f.Op != OpEq || f.Value.assigned() {
		t.Errorf("%+v", f)
	}
	group := types.ByName("Group")
	f = bindText(t, group, `members[value eq "u1"]`, BindOptions{})
	if id, ok := eqValue(f.Args[0], group.root.sub("members").value()); !ok || id != "u1" {
		t.Errorf("%q, %t", id, ok)
	}
}

func BenchmarkMatch(b *testing.B) {
	types := everyTypes(b)
	r := resourceOf(b, types.ByName("User"), ada)
	for _, s := range []string{
		`userName eq "bjensen@corp.example"`, `title co "guide"`, `emails[type eq "work" and value ew "one.test"]`,
		`meta.lastModified gt "2001-01-01T00:00:00Z"`, every + `:n gt 5`, `displayName eq "STRASSE"`,
	} {
		f := bindText(b, r.Type, s, BindOptions{})
		b.Run(s, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if ok, err := f.Match(r); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}
