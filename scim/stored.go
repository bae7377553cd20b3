package scim

import (
	"bytes"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// A stored body is JSON in the form in which values are shown, written by encodeBody. A resource that is only shown, or
// compared with a filter, is therefore not decoded: its body is taken apart at the top level, what is shown is copied as it
// stands there, and what a filter asks about is decoded by itself. Today's schema decides what of it is a value at all, as it
// does in storedObject, and a body in any other form is decoded as a whole.

// storedBody is a body taken apart at its top level. It is valid as long as the bytes that it was made of.
type storedBody struct {
	text  []byte
	spans []span // by the index of the attribute; an end of 0 = no value
}

type span struct{ from, end int }

// takeApart finds the values in a body; ok is false if it is in a form that encodeBody does not write.
func takeApart(t *ResourceType, text []byte) (b *storedBody, ok bool) {
	b = &storedBody{}
	return b, b.take(t, text)
}

// take makes b that of another body, which takeApart says more of.
func (b *storedBody) take(t *ResourceType, text []byte) (ok bool) {
	if b.text = text; b.spans == nil {
		b.spans = make([]span, len(t.root.Sub))
	}
	clear(b.spans)
	end, ok := eachMember(t.root, text, 0, func(a *Attribute, from, end int) bool {
		twice := b.spans[a.index].end != 0
		b.spans[a.index] = span{from, end}
		return !twice
	})
	return ok && end == len(text)
}

// raw returns the JSON of a's value, nil if it has none.
func (b *storedBody) raw(a *Attribute) []byte {
	s := b.spans[a.index]
	return b.text[s.from:s.end]
}

// value decodes a's value.
func (b *storedBody) value(a *Attribute) Value {
	raw := b.raw(a)
	if len(raw) == 0 {
		return Value{}
	}
	if v, ok := decodeValue(a, raw); ok {
		return v
	}
	n, err := readNode(jsontext.NewDecoder(bytes.NewReader(raw)), 1)
	if err != nil {
		return Value{} // takeApart has found where it ends, and the row's checksum was right
	}
	v, _ := storedValue(a, n)
	return v
}

// eachMember calls fn with the members of the object at i that today's schema has as members of a, and with where their
// values are. It returns the end of the object; ok is false if it cannot be read, or if fn has returned false.
func eachMember(a *Attribute, text []byte, i int, fn func(sub *Attribute, from, end int) bool) (end int, ok bool) {
	if at(text, i) != '{' {
		return i, false
	}
	if i++; at(text, i) == '}' {
		return i + 1, true
	}
	for {
		name := i
		if i, ok = skipString(text, i); !ok || at(text, i) != ':' {
			return i, false
		}
		quoted := text[name+1 : i-1]
		from := i + 1
		if i, ok = skipValue(text, from); !ok {
			return i, false
		}
		if sub := a.storedSub(quoted); sub != nil && sub.fits(text, from, i) && !fn(sub, from, i) {
			return i, false
		}
		switch at(text, i) {
		case ',':
			i++
		case '}':
			return i + 1, true
		default:
			return i, false
		}
	}
}

// storedSub returns the member of a that a stored name is that of, nil if there is none whose values are stored. A name that
// needs escaping is that of no attribute.
func (a *Attribute) storedSub(name []byte) *Attribute {
	sub := a.spelled[string(name)]
	if sub == nil {
		sub = a.sub(string(name))
	}
	if sub == nil || sub.linked || sub.derived || sub.secret() {
		return nil
	}
	return sub
}

// fits says whether the JSON at i is a value of a, as storedValue does of a node.
func (a *Attribute) fits(text []byte, i, end int) bool {
	if !a.MultiValued {
		return a.fitsSingle(at(text, i))
	}
	if at(text, i) != '[' {
		return false
	}
	for i++; i < end-1; i++ {
		if !a.fitsSingle(at(text, i)) {
			return false
		}
		var ok bool
		if i, ok = skipValue(text, i); !ok {
			return false
		}
	}
	return true
}

func (a *Attribute) fitsSingle(first byte) bool {
	switch a.Type {
	case Complex:
		return first == '{'
	case Boolean:
		return first == 't' || first == 'f'
	case Integer, Decimal:
		return first == '-' || '0' <= first && first <= '9'
	default:
		return first == '"'
	}
}

// at returns the byte at i, 0 behind the end.
func at(text []byte, i int) byte {
	if i < len(text) {
		return text[i]
	}
	return 0
}

// skipString returns where the string that begins at i ends.
func skipString(text []byte, i int) (int, bool) {
	if at(text, i) != '"' {
		return i, false
	}
	for i++; i < len(text); i++ {
		switch text[i] {
		case '"':
			return i + 1, true
		case '\\':
			i++
		}
	}
	return i, false
}

// skipValue returns where the value that begins at i ends. There are no blanks in what encodeBody writes, and all names and
// values in it are such; what is not is found by whoever decodes it.
func skipValue(text []byte, i int) (int, bool) {
	switch at(text, i) {
	case '"':
		return skipString(text, i)
	case '{', '[':
		for depth := 0; i < len(text); i++ {
			switch text[i] {
			case '"':
				end, ok := skipString(text, i)
				if !ok {
					return end, false
				}
				i = end - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1, true
				}
			}
		}
		return i, false
	}
	from := i
	for ; i < len(text); i++ {
		switch c := text[i]; {
		case c == ',' || c == '}' || c == ']':
			return i, i > from
		case c != '-' && c != '+' && c != '.' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && c != 'E':
			return i, false
		}
	}
	return i, i > from
}

// appendRaw appends what is shown of the stored value of a and says how many values that were; if none, what it has
// appended is void. It is appendShown for what has not been decoded.
func appendRaw(b []byte, r *Resource, a *Attribute, raw []byte, p *projection, all bool) ([]byte, int, error) {
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
	eachMember(a, raw, 0, func(sub *Attribute, from, end int) bool {
		show, whole := p.shows(sub, all)
		if !show {
			return true
		}
		before := len(b)
		if n > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, sub.Name), ':')
		var m int
		if b, m, err = appendRaw(b, r, sub, raw[from:end], p, whole); err != nil {
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

// holdsAny says whether the stored value of a complex attribute has a member that today's schema has.
func holdsAny(a *Attribute, raw []byte) bool {
	found := false
	eachMember(a, raw, 0, func(sub *Attribute, from, end int) bool {
		found = found || sub.holds(raw[from:end])
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

// decodeStored decodes the object at i, a value of a, as storedObject does with a node. ok is false if it is in a form that
// encodeBody does not write.
func decodeStored(a *Attribute, text []byte, i int) (o *Object, end int, ok bool) {
	o = &Object{}
	if at(text, i) != '{' {
		return nil, i, false
	}
	if i++; at(text, i) == '}' {
		return o, i + 1, true
	}
	o.fields = make([]field, 0, 8)
	for {
		name := i
		if i, ok = skipString(text, i); !ok || at(text, i) != ':' {
			return nil, i, false
		}
		quoted := text[name+1 : i-1]
		from := i + 1
		if i, ok = skipValue(text, from); !ok {
			return nil, i, false
		}
		if sub := a.storedSub(quoted); sub != nil && sub.fits(text, from, i) {
			if o.Get(sub).assigned() {
				return nil, i, false // one name twice is for somebody else to judge
			}
			v, ok := decodeValue(sub, text[from:i])
			if !ok {
				return nil, i, false
			}
			o.Set(sub, v)
		} else {
			name, ok := unquote(text[name : from-1])
			// What is kept for a later schema is kept in the form that the other way of decoding gives it.
			n, err := readNode(jsontext.NewDecoder(bytes.NewReader(text[from:i])), 1)
			if !ok || err != nil {
				return nil, i, false
			}
			o.extra = append(o.extra, rawMember{name, n.appendJSON(nil)})
		}
		switch at(text, i) {
		case ',':
			i++
		case '}':
			return o, i + 1, true
		default:
			return nil, i, false
		}
	}
}

func decodeValue(a *Attribute, raw []byte) (Value, bool) {
	if !a.MultiValued {
		return decodeSingle(a, raw)
	}
	var l []Value
	for i := 1; i < len(raw)-1; i++ {
		end, _ := skipValue(raw, i) // fits has been here
		v, ok := decodeSingle(a, raw[i:end])
		if !ok {
			return Value{}, false
		}
		if v.assigned() {
			l = append(l, v)
		}
		i = end
	}
	return listValue(l), true
}

func decodeSingle(a *Attribute, raw []byte) (Value, bool) {
	switch a.Type {
	case Complex:
		o, end, ok := decodeStored(a, raw, 0)
		return objectValue(o), ok && end == len(raw)
	case Boolean:
		return boolValue(raw[0] == 't'), string(raw) == "true" || string(raw) == "false"
	case Integer, Decimal:
		return numberValue(string(raw)), isNumber(raw)
	default:
		s, ok := unquote(raw)
		return textValue(s), ok
	}
}

// isNumber says whether text that begins like one is a number of JSON.
func isNumber(text []byte) bool {
	n, err := jsontext.NewDecoder(bytes.NewReader(text)).ReadValue()
	return err == nil && len(n) == len(text)
}

// unquote returns what a JSON string says.
func unquote(quoted []byte) (string, bool) {
	inner := quoted[1 : len(quoted)-1]
	for _, c := range inner {
		if c == '\\' || c < ' ' || c >= 0x80 {
			b, err := jsontext.AppendUnquote(nil, quoted)
			return string(b), err == nil
		}
	}
	return string(inner), true
}

// own returns the value of an attribute that is neither linked nor derived.
func (r *Resource) own(a *Attribute) Value {
	if r.stored == nil {
		return r.Object.Get(a)
	}
	switch t := r.Type; a {
	case t.idAttr:
		return textValue(r.ID)
	case t.metaAttr:
		return metaOf(t, r.ID, r.Stamp, r.base)
	case t.schemasAttr:
		l := []Value{textValue(t.Schema.ID)}
		for _, x := range t.root.Sub {
			if raw := r.stored.raw(x); x.extension && len(raw) > 0 && holdsAny(x, raw) {
				l = append(l, textValue(x.Name))
			}
		}
		return listValue(l)
	}
	return r.stored.value(a)
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
		b = append(appendText(b, sub.Name), ':')
		switch sub.Name {
		case "resourceType":
			b = appendText(b, r.Type.Name)
		case "created":
			b = appendTime(b, r.Stamp.Created)
		case "lastModified":
			b = appendTime(b, r.Stamp.Modified)
		case "location":
			b = appendText(b, location(r.base, r.Type, r.ID))
		case "version":
			b = appendText(b, etag(r.Stamp.Version))
		}
	}
	return append(b, '}'), n
}

func appendTime(b []byte, t time.Time) []byte {
	b = t.UTC().AppendFormat(append(b, '"'), timeForm)
	return append(b, '"')
}
