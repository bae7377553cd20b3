package scim

// appendJSON appends the JSON text of v; of an unassigned v, null.
func (v Value) appendJSON(b []byte) []byte {
	switch v.kind {
	case text:
		return appendText(b, v.text)
	case number:
		return append(b, v.text...)
	case boolean:
		if v.flag {
			return append(b, "true"...)
		}
		return append(b, "false"...)
	case object:
		return v.obj.appendJSON(b)
	case list:
		b = append(b, '[')
		for i, e := range v.list {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.appendJSON(b)
		}
		return append(b, ']')
	default:
		return append(b, "null"...)
	}
}

// appendJSON appends every member of o, and those that today's schema does not know: this is the form that is stored,
// not the one that is sent.
func (o *Object) appendJSON(b []byte) []byte {
	b = append(b, '{')
	first := true
	comma := func() {
		if !first {
			b = append(b, ',')
		}
		first = false
	}
	for _, f := range o.fields {
		comma()
		b = append(appendText(b, f.attr.Name), ':')
		b = f.value.appendJSON(b)
	}
	for _, m := range o.extra {
		comma()
		b = append(appendText(b, m.name), ':')
		b = append(b, m.text...)
	}
	return append(b, '}')
}

// equal says whether v and w are the same value of one attribute, to the letter.
func (v Value) equal(w Value) bool {
	if v.kind != w.kind || v.flag != w.flag || v.text != w.text || len(v.list) != len(w.list) {
		return false
	}
	for i := range v.list {
		if !v.list[i].equal(w.list[i]) {
			return false
		}
	}
	if v.kind != object {
		return true
	}
	if len(v.obj.fields) != len(w.obj.fields) {
		return false
	}
	for i, f := range v.obj.fields {
		if g := w.obj.fields[i]; f.attr != g.attr || !f.value.equal(g.value) {
			return false
		}
	}
	return true
}
