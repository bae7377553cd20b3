package console

import (
	"encoding/json"
	"fmt"
	"strings"

	"scimbox/scim"
)

const maxValues = 20 // of one attribute that a page shows

// attributeRow is one attribute of a resource.
type attributeRow struct {
	Path        string // as the journal names it
	Label       string // the same without the URN of an extension
	Group       string // name of the extension, "" for the resource's own
	Description string
	Values      []attributeValue
	More        int // values that are not shown

	// Where the values came from; zero if the journal does not tell any more.
	By   string
	When moment
	Seq  uint64
}

// attributeValue is one value: what it is, and what else is said of it.
type attributeValue struct {
	Text  string
	Notes []string // "work", "primary", "display: ..."
}

// attributesOf lists the attributes of a resource in the order of its schemas. What the server itself says of it (id, meta,
// schemas) is told elsewhere. state says that the type has active.
func attributesOf(t *scim.ResourceType, body []byte) (rows []attributeRow, state bool, err error) {
	var o map[string]json.RawMessage
	if err := json.Unmarshal(body, &o); err != nil {
		return nil, false, err
	}
	external := &scim.Attribute{Name: "externalId", Type: scim.String, Description: "The client's name for the resource."}
	rows, err = appendAttributes(rows, append([]*scim.Attribute{external}, t.Schema.Attributes...), o, "", "")
	for _, a := range t.Schema.Attributes {
		state = state || a.Name == "active" && a.Type == scim.Boolean
	}
	for _, e := range t.Extensions {
		raw, ok := o[e.Schema.ID]
		if !ok || err != nil {
			continue
		}
		var x map[string]json.RawMessage
		if err := json.Unmarshal(raw, &x); err != nil {
			return nil, state, err
		}
		rows, err = appendAttributes(rows, e.Schema.Attributes, x, e.Schema.ID+":", e.Schema.Name)
	}
	return rows, state, err
}

func appendAttributes(rows []attributeRow, attributes []*scim.Attribute, o map[string]json.RawMessage, prefix, group string) ([]attributeRow, error) {
	for _, a := range attributes {
		raw, ok := o[a.Name]
		if !ok {
			continue
		}
		if a.Type == scim.Complex && !a.MultiValued {
			var sub map[string]json.RawMessage
			if err := json.Unmarshal(raw, &sub); err != nil {
				return nil, err
			}
			var err error
			if rows, err = appendAttributes(rows, a.Sub, sub, prefix+a.Name+".", group); err != nil {
				return nil, err
			}
			continue
		}
		row := attributeRow{Path: prefix + a.Name, Group: group, Description: a.Description}
		row.Label = row.Path
		if i := strings.LastIndex(row.Path, ":"); i >= 0 {
			row.Label = row.Path[i+1:]
		}
		list := []json.RawMessage{raw}
		if a.MultiValued {
			if err := json.Unmarshal(raw, &list); err != nil {
				return nil, err
			}
		}
		if row.More = len(list) - maxValues; row.More > 0 {
			list = list[:maxValues]
		}
		for _, e := range list {
			v, err := valueOf(a, e)
			if err != nil {
				return nil, err
			}
			row.Values = append(row.Values, v)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func valueOf(a *scim.Attribute, raw json.RawMessage) (attributeValue, error) {
	if a.Type != scim.Complex {
		return attributeValue{Text: textOf(raw)}, nil
	}
	var o map[string]json.RawMessage
	if err := json.Unmarshal(raw, &o); err != nil {
		return attributeValue{}, err
	}
	v := attributeValue{}
	for _, s := range a.Sub {
		x, ok := o[s.Name]
		if !ok {
			continue
		}
		switch text := textOf(x); {
		case s.Name == "value" || s.Name == "formatted" && v.Text == "":
			v.Text = text
		case s.Name == "type":
			v.Notes = append(v.Notes, text)
		case s.Name == "primary":
			if text == "yes" {
				v.Notes = append(v.Notes, "primary")
			}
		case s.Name != "$ref":
			v.Notes = append(v.Notes, s.Name+": "+text)
		}
	}
	return v, nil
}

// textOf writes a value as a person reads it.
func textOf(raw json.RawMessage) string {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return short(string(raw))
	}
	switch x := v.(type) {
	case string:
		return short(x)
	case bool:
		if x {
			return "yes"
		}
		return "no"
	case nil:
		return "nothing"
	case []any:
		var l []string
		for _, e := range x {
			b, err := json.Marshal(e)
			if err != nil {
				return short(string(raw))
			}
			l = append(l, textOf(b))
		}
		return short(strings.Join(l, ", "))
	case map[string]any:
		main := ""
		var notes []string
		for _, name := range []string{"value", "formatted", "displayName", "display", "type", "primary"} {
			e, ok := x[name]
			if !ok {
				continue
			}
			text := fmt.Sprint(e)
			switch {
			case name == "primary" && text != "true":
			case name == "primary":
				notes = append(notes, "primary")
			case main == "":
				main = text
			default:
				notes = append(notes, text)
			}
		}
		if main == "" {
			return short(string(raw))
		}
		if len(notes) > 0 {
			main += " (" + strings.Join(notes, ", ") + ")"
		}
		return short(main)
	}
	return short(string(raw))
}
