package scim

import (
	"bytes"
	"slices"

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
	// onlyAsked says that values are looked at when somebody asks for them, because few are asked for and none is shown: a span may
	// then be that of something else, and none is plain.
	onlyAsked bool
	// asked are those that anybody is going to ask for, if onlyAsked: a body is read no further than to the last of them, for no name
	// stands in it twice (docs/decisions/0089-a-scan-stops-behind-what-it-asks.md). nil = any.
	asked []*Attribute
}

// span is where a value stands in a text.
type span struct {
	from, end int
	plain     bool // see Attribute.plain
}

// takeApart finds the values in a body; ok is false if it is in a form that encodeBody does not write.
func takeApart(t *ResourceType, text []byte) (b *storedBody, ok bool) {
	b = &storedBody{}
	return b, b.take(t, text)
}

// take makes b that of another body, which takeApart says more of.
func (b *storedBody) take(t *ResourceType, text []byte) (ok bool) {
	b.text = text
	if n := len(t.root.Sub); n <= cap(b.spans) {
		b.spans = b.spans[:n]
		clear(b.spans)
	} else {
		b.spans = make([]span, n)
	}
	left := len(b.asked)
	if b.asked != nil && left == 0 {
		return true
	}
	enough := false
	end, ok := eachMember(t.root, text, 0, !b.onlyAsked, func(a *Attribute, at span) bool {
		if b.spans[a.index].end != 0 {
			return false // one name twice is for somebody else to judge
		}
		b.spans[a.index] = at
		if left > 0 && slices.Contains(b.asked, a) {
			left--
			enough = left == 0
		}
		return !enough
	})
	return enough || ok && end == len(text)
}

// raw returns the JSON of a's value, nil if it has none.
func (b *storedBody) raw(a *Attribute) []byte {
	s := b.spans[a.index]
	if b.onlyAsked && s.end > 0 && !a.fits(b.text, s.from, s.end) {
		return nil
	}
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
// values are; those that are values at all if they are to be examined. It returns the end of the object; ok is false if it cannot be
// read, or if fn has returned false.
func eachMember(a *Attribute, text []byte, i int, examine bool, fn func(sub *Attribute, at span) bool) (end int, ok bool) {
	if at(text, i) != '{' {
		return i, false
	}
	if i++; at(text, i) == '}' {
		return i + 1, true
	}
	for next := 0; ; {
		sub, from := a.following(text, i, next)
		if sub != nil {
			next = sub.index + 1
		} else if sub, from, ok = a.storedSub(text, i); !ok {
			return i, false
		}
		v := span{from: from}
		if sub != nil && examine {
			v.end, v.plain = sub.plain(text, from)
		}
		if !v.plain {
			if v.end, ok = skipValue(text, from); !ok {
				return i, false
			}
			if sub != nil && examine && !sub.fits(text, from, v.end) {
				sub = nil
			}
		}
		if sub != nil && !fn(sub, v) {
			return i, false
		}
		switch i = v.end; at(text, i) {
		case ',':
			i++
		case '}':
			return i + 1, true
		default:
			return i, false
		}
	}
}

// following returns the member of a whose name stands at i, to the letter, and where its value begins; nil if it is none of
// those from next on. Members are stored in the order of the schema, so that it is one of the next few.
func (a *Attribute) following(text []byte, i, next int) (sub *Attribute, from int) {
	first := at(text, i+1)
	for n, name := range a.stored[next:] {
		if name[1] != first {
			continue
		}
		if end := i + len(name); end <= len(text) && string(text[i:end]) == name {
			return a.Sub[next+n], end
		}
	}
	return nil, i
}

// unstored stands for a name that is not to be found in a stored body.
const unstored = "\x00\x00"

// storedSub returns the member of a whose name stands at i, nil if there is none whose values are stored, and where its value
// begins. A name that needs escaping is that of no attribute. ok is false if there is no name.
func (a *Attribute) storedSub(text []byte, i int) (sub *Attribute, from int, ok bool) {
	end, ok := skipString(text, i)
	if !ok || at(text, end) != ':' {
		return nil, end, false
	}
	name := text[i+1 : end-1]
	if sub = a.spelled[string(name)]; sub == nil {
		sub = a.sub(string(name))
	}
	if sub != nil && !sub.kept() {
		sub = nil
	}
	return sub, end + 1, true
}

// kept says whether values of a are part of what is stored.
func (a *Attribute) kept() bool { return !a.linked && !a.derived && !a.secret() }

// plain says whether what stands at i is a value of a in the one form in which encodeBody writes those of today's schema, so that
// it may be shown as it stands: members in order, by the names that they have today, and nothing that is no value. It returns where
// the value ends if it is.
func (a *Attribute) plain(text []byte, i int) (end int, ok bool) {
	if !a.MultiValued {
		return a.plainSingle(text, i)
	}
	if at(text, i) != '[' {
		return i, false
	}
	for {
		if i, ok = a.plainSingle(text, i+1); !ok {
			return i, false
		}
		switch at(text, i) {
		case ',':
		case ']':
			return i + 1, true
		default:
			return i, false
		}
	}
}

func (a *Attribute) plainSingle(text []byte, i int) (end int, ok bool) {
	switch a.Type {
	case Complex:
	case Boolean, Integer, Decimal:
		if !a.fitsSingle(at(text, i)) {
			return i, false
		}
		return skipValue(text, i)
	default:
		return skipString(text, i)
	}
	if at(text, i) != '{' {
		return i, false
	}
	for next := 0; ; {
		sub, from := a.following(text, i+1, next)
		if sub == nil {
			return i, false
		}
		next = sub.index + 1
		if i, ok = sub.plain(text, from); !ok {
			return i, false
		}
		switch at(text, i) {
		case ',':
		case '}':
			return i + 1, true
		default:
			return i, false
		}
	}
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

// decodeStored decodes the object at i, a value of a, as storedObject does with a node, without those members that stay as they
// are; leave may be nil. ok is false if it is in a form that encodeBody does not write.
func decodeStored(a *Attribute, text []byte, i int, leave func(*Attribute, span) bool) (o *Object, end int, ok bool) {
	o = &Object{}
	if at(text, i) != '{' {
		return nil, i, false
	}
	if i++; at(text, i) == '}' {
		return o, i + 1, true
	}
	o.fields = make([]field, 0, 8)
	for next := 0; ; {
		name := i
		sub, from := a.following(text, i, next)
		if sub != nil {
			next = sub.index + 1
		} else if sub, from, ok = a.storedSub(text, i); !ok {
			return nil, i, false
		}
		if i, ok = skipValue(text, from); !ok {
			return nil, i, false
		}
		switch {
		case sub != nil && sub.fits(text, from, i):
			if leave != nil && leave(sub, span{from: from, end: i}) {
				break
			}
			if o.Get(sub).assigned() {
				return nil, i, false // one name twice is for somebody else to judge
			}
			v, ok := decodeValue(sub, text[from:i])
			if !ok {
				return nil, i, false
			}
			o.Set(sub, v)
		default:
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
		o, end, ok := decodeStored(a, raw, 0, nil)
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
			if x.extension && r.stored.holds(x) {
				l = append(l, textValue(x.Name))
			}
		}
		return listValue(l)
	}
	return r.stored.value(a)
}
