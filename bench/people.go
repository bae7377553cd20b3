package bench

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
)

func bytesOf(b []byte) io.Reader { return bytes.NewReader(b) }

// userName and the others are what a user of that number is found by.
func userName(i int) string { return fmt.Sprintf("user%07d@bench.example.com", i) }
func externalID(i int) string {
	return fmt.Sprintf("%08x-0000-4000-8000-%012x", i*2654435761%(1<<32), i)
}

var (
	givenNames  = []string{"Anna", "Babs", "Chiara", "Dilan", "Émile", "Fatou", "Goran", "Hye-jin", "Ines", "Jürgen", "Kofi", "Léa"}
	familyNames = []string{"Jensen", "Núñez", "Okafor", "Schröder", "Tanaka", "Yılmaz", "Novák", "O'Brien", "Silva", "Kowalski", "Popescu"}
)

func displayName(i int) string {
	return givenNames[i%len(givenNames)] + " " + familyNames[i/len(givenNames)%len(familyNames)] + " " + strconv.Itoa(i)
}

// userBody is a user as Entra's mapping makes one of a well-kept directory: some 1.2 KB.
func userBody(i int) []byte {
	return fmt.Appendf(nil, `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],`+
		`"userName":%q,"externalId":%q,"active":true,"displayName":%q,"title":"Senior specialist for matters of the %dth kind",`+
		`"preferredLanguage":"de-CH","locale":"de-CH","timezone":"Europe/Zurich","userType":"Employee",`+
		`"name":{"givenName":%q,"familyName":%q,"formatted":%q},`+
		`"emails":[{"type":"work","value":%q,"primary":true},{"type":"home","value":"home.%07d@mail.example.org"}],`+
		`"phoneNumbers":[{"type":"mobile","value":"+41 79 %07d"},{"type":"work","value":"+41 44 %07d"}],`+
		`"addresses":[{"type":"work","streetAddress":"Bahnhofstrasse %d","locality":"Zürich","region":"ZH","postalCode":"8001","country":"CH","formatted":"Bahnhofstrasse %d, 8001 Zürich"}],`+
		`"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"employeeNumber":"%08d","costCenter":"CC-%04d","organization":"Bench Industries AG","division":"Division %d","department":"Department of operations and measurement %d"}}`,
		userName(i), externalID(i), displayName(i), i%90+4, givenNames[i%len(givenNames)], familyNames[i/len(givenNames)%len(familyNames)], displayName(i),
		userName(i), i, i, i, i%300+1, i%300+1, i, i%5000, i%12, i%120)
}

// patchBody changes one attribute, in the words of Entra.
func patchBody(path, value string) []byte {
	return fmt.Appendf(nil, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"Replace","path":%q,"value":%q}]}`, path, value)
}

func memberBody(op, id string) []byte {
	return fmt.Appendf(nil, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":%q,"path":"members","value":[{"value":%q}]}]}`, op, id)
}

// membersBody adds many members at once.
func membersBody(ids []string) []byte {
	var b strings.Builder
	b.WriteString(`{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"add","path":"members","value":[`)
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"value":%q}`, id)
	}
	b.WriteString(`]}]}`)
	return []byte(b.String())
}

// bulkBody creates the users from first to end.
func bulkBody(first, end int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"schemas":["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],"Operations":[`)
	for i := first; i < end; i++ {
		if i > first {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"method":"POST","path":"/Users","bulkId":"u%d","data":%s}`, i, userBody(i))
	}
	b.WriteString(`]}`)
	return b.Bytes()
}
