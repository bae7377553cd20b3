package scim

import (
	"bytes"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// How a resource is shown straight from its stored body (stored.go): what has the form in which it is shown is copied as it stands.

// appendStored appends a top-level attribute, with its name, of a resource that has a stored body. What is linked or derived is not
// part of it.
func appendStored(b []byte, start int, r *Resource, a *Attribute, p *projection, all bool) (_ []byte, err error) {
	before := len(b)
	if before > start {
		b = append(b, ',')
	}
	b = append(b, a.quoted...)
	n := 1
	switch t := r.Type; a {
	case t.schemasAttr:
		b = r.appendSchemas(b)
	case t.idAttr:
		b = appendText(b, r.ID)
	case t.metaAttr:
		b, n = appendMeta(b, r, p, all)
	default:
		raw := r.stored.raw(a)
		if len(raw) == 0 {
			return b[:before], nil
		}
		if b, n, err = appendRaw(b, r, a, raw, r.stored.spans[a.index].plain, p, all); err != nil {
			return nil, err
		}
	}
	if n == 0 {
		b = b[:before]
	}
	return b, nil
}

// appendSchemas appends the URNs of the schema and of those extensions that the stored body has data of.
func (r *Resource) appendSchemas(b []byte) []byte {
	b = appendText(append(b, '['), r.Type.Schema.ID)
	for _, x := range r.Type.root.Sub {
		if x.extension && r.stored.holds(x) {
			b = appendText(append(b, ','), x.Name)
		}
	}
	return append(b, ']')
}

// appendRaw appends what is shown of the stored value of a and says how many values that were; if none, what it has
// appended is void. It is appendShown for what has not been decoded.
func appendRaw(b []byte, r *Resource, a *Attribute, raw []byte, plain bool, p *projection, all bool) ([]byte, int, error) {
	if plain && p.asStored(a, all) {
		return append(b, raw...), 1, nil
	}
	if !a.MultiValued {
		return appendRawSingle(b, r, a, raw, p, all)
	}
	b = append(b, '[')
	n := 0
	for i := 1; i < len(raw)-1; i++ {
		end, _ := skipValue(raw, i) // fits has been here
		before := len(b)
		if n > 0 {
			b = append(b, ',')
		}
		var m int
		var err error
		if b, m, err = appendRawSingle(b, r, a, raw[i:end], p, all); err != nil {
			return nil, 0, err
		}
		if m == 0 {
			b = b[:before]
		} else {
			n++
		}
		i = end
	}
	return append(b, ']'), n, nil
}

func appendRawSingle(b []byte, r *Resource, a *Attribute, raw []byte, p *projection, all bool) (_ []byte, n int, err error) {
	if a.Type != Complex {
		return append(b, raw...), 1, nil
	}
	if r.resolve != nil && a.refers() {
		node, err := readNode(jsontext.NewDecoder(bytes.NewReader(raw)), 1)
		if err != nil {
			return b, 0, nil // see storedBody.value
		}
		v, ok := storedSingle(a, node)
		if !ok || !v.assigned() {
			return b, 0, nil
		}
		return appendShown(b, r, a, v, p, all)
	}
	b = append(b, '{')
	eachMember(a, raw, 0, true, func(sub *Attribute, at span) bool {
		show, whole := p.shows(sub, all)
		if !show {
			return true
		}
		before := len(b)
		if n > 0 {
			b = append(b, ',')
		}
		b = append(b, sub.quoted...)
		var m int
		if b, m, err = appendRaw(b, r, sub, raw[at.from:at.end], at.plain, p, whole); err != nil {
			return false
		}
		if m == 0 {
			b = b[:before]
		} else {
			n++
		}
		return true
	})
	return append(b, '}'), n, err
}

// holds says whether a body has a member of an extension that today's schema has.
func (b *storedBody) holds(extension *Attribute) bool {
	at := b.spans[extension.index]
	if at.plain || at.end == 0 {
		return at.plain
	}
	found := false
	eachMember(extension, b.text[:at.end], at.from, true, func(sub *Attribute, at span) bool {
		found = found || sub.holds(b.text[at.from:at.end])
		return !found
	})
	return found
}

// holds says whether what is stored of a is a value: {} and [] are none. What is in an object may be unknown today, and is
// kept all the same.
func (a *Attribute) holds(raw []byte) bool {
	if raw[0] != '[' {
		return len(raw) > 2 || raw[0] != '{'
	}
	for i := 1; i < len(raw)-1; i++ {
		end, _ := skipValue(raw, i)
		if a.holds(raw[i:end]) {
			return true
		}
		i = end
	}
	return false
}

// appendMeta appends what is shown of meta; see appendShown.
func appendMeta(b []byte, r *Resource, p *projection, all bool) (_ []byte, n int) {
	b = append(b, '{')
	for _, sub := range r.Type.metaAttr.Sub {
		if show, _ := p.shows(sub, all); !show {
			continue
		}
		if n > 0 {
			b = append(b, ',')
		}
		n++
		b = append(b, sub.quoted...)
		switch sub.Name {
		case "resourceType":
			b = appendText(b, r.Type.Name)
		case "created":
			b = appendTime(b, r.Stamp.Created)
		case "lastModified":
			b = appendTime(b, r.Stamp.Modified)
		case "location":
			b = r.appendLocation(b)
		case "version":
			b = strconv.AppendUint(append(b, `"W/\"`...), r.Stamp.Version, 10)
			b = append(b, `\""`...)
		}
	}
	return append(b, '}'), n
}

// appendLocation appends where the resource is found, without putting it together first if it is plain.
func (r *Resource) appendLocation(b []byte) []byte {
	if r.where == "" && plainText(r.base) && plainText(r.Type.Endpoint) && plainText(r.ID) {
		b = append(append(append(b, '"'), r.base...), r.Type.Endpoint...)
		return append(append(append(b, '/'), r.ID...), '"')
	}
	return appendText(b, r.location(r.base))
}

// appendTime appends a time in timeForm, as Time.AppendFormat does, which reads the form anew each time.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	if year < 0 || year > 9999 {
		return append(t.AppendFormat(append(b, '"'), timeForm), '"')
	}
	b = appendDigits(append(b, '"'), year, 4)
	b = appendDigits(append(b, '-'), int(month), 2)
	b = appendDigits(append(b, '-'), day, 2)
	b = appendDigits(append(b, 'T'), hour, 2)
	b = appendDigits(append(b, ':'), minute, 2)
	b = appendDigits(append(b, ':'), second, 2)
	b = appendDigits(append(b, '.'), t.Nanosecond()/1000, 6)
	return append(b, 'Z', '"')
}

// appendDigits appends the last digits of n, so many of them.
func appendDigits(b []byte, n, digits int) []byte {
	b = append(b, "000000"[:digits]...)
	for i := len(b) - 1; i >= len(b)-digits; i-- {
		b[i] += byte(n % 10)
		n /= 10
	}
	return b
}
