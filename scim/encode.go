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
	m := memberList{append(b, '{'), true}
	for _, f := range o.fields {
		m.begin(f.attr.Name)
		m.b = f.value.appendJSON(m.b)
	}
	return m.end(o.extra)
}

// memberList is the JSON of an object that is being written.
type memberList struct {
	b     []byte
	first bool
}

// begin writes the name of the next member; its value is then appended.
func (m *memberList) begin(name string) {
	if !m.first {
		m.b = append(m.b, ',')
	}
	m.first = false
	m.b = append(appendText(m.b, name), ':')
}

// end writes what today's schema does not know, and ends the object.
func (m *memberList) end(extra []rawMember) []byte {
	for _, x := range extra {
		m.begin(x.name)
		m.b = append(m.b, x.text...)
	}
	return append(m.b, '}')
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
