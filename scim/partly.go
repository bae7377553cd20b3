package scim

import "scimbox/storage"

// A PATCH names a few attributes. The others stay as they are stored, to the byte: they are neither decoded nor encoded, and can
// be found by the terms that the record has already.

// stayed is what a change leaves alone: top-level attributes, by their index, that have not been decoded.
type stayed struct {
	looked []bool // the others
	body   *storedBody
	terms  []storage.Term // of the record
}

// has says whether a, or what it is a part of, was left alone. A nil stayed has nothing.
func (s *stayed) has(a *Attribute) bool {
	if s == nil {
		return false
	}
	for a.parent.parent != nil {
		a = a.parent
	}
	return !s.looked[a.index]
}

// raw returns the JSON of a's value if that is left alone, nil if not or if there is none.
func (s *stayed) raw(a *Attribute) []byte {
	if s == nil {
		return nil
	}
	return s.body.raw(a)
}

// weight is how much it is to copy it; see work.
func (s *stayed) weight() int {
	if s == nil {
		return 0
	}
	return len(s.body.text) / textStep
}

// looksAt lists the attributes, by their index, that a PATCH of these operations has to look at: those that it names, and those
// that are looked at whatever it does.
func (t *ResourceType) looksAt(ops []patchOp) []bool {
	looked := make([]bool, len(t.root.Sub))
	for _, a := range t.root.Sub {
		looked[a.index] = a.Required || a.demands // checkRequired
	}
	for _, name := range labels {
		if a := t.root.sub(name); a != nil { // labelOf, uniqueName
			looked[a.index] = true
		}
	}
	for i := range ops {
		p := ops[i].path
		if p.Ext != nil {
			looked[p.Ext.index] = true
		} else {
			looked[p.Attr.index] = true
		}
	}
	return looked
}

// decodePartly decodes those attributes of a record's body that are looked at. The rest is nil if all had to be decoded.
func decodePartly(t *ResourceType, rec *storage.Record, looked []bool) (*Object, *stayed, error) {
	if looked != nil && len(rec.Terms) > 0 { // a record that was read with its terms has some: that of its id
		rest := &stayed{looked, &storedBody{text: rec.Body, spans: make([]span, len(looked))}, rec.Terms}
		spans, twice := rest.body.spans, false
		o, end, ok := decodeStored(t.root, rec.Body, 0, func(a *Attribute, s span) bool {
			if looked[a.index] {
				return false
			}
			twice = twice || spans[a.index].end != 0
			spans[a.index] = s
			return true
		})
		if ok && end == len(rec.Body) && !twice {
			return o, rest, nil
		}
	}
	o, err := decodeBody(t, rec.Body)
	return o, nil, err
}
