package console

import (
	"scimbox/scim"
)

// mappingRow is one line of the sheet: what Entra has, and where it goes.
type mappingRow struct {
	Source string // as Entra names it; an expression where there is one
	Target string // attribute notation, as it is entered in Entra
	Note   string
	Match  bool // the matching property
}

// entraUsers is the mapping that Entra proposes, and what is worth adding (docs/entra.md section 5).
var entraUsers = []mappingRow{
	{Source: "userPrincipalName", Target: "userName", Note: "required, unique whatever its case", Match: true},
	{Source: `Switch([IsSoftDeleted], , "False", "True", "True", "False")`, Target: "active", Note: "an expression: how people are disabled"},
	{Source: "displayName", Target: "displayName"},
	{Source: "givenName", Target: "name.givenName"},
	{Source: "surname", Target: "name.familyName"},
	{Source: "mail", Target: `emails[type eq "work"].value`},
	{Source: "mobile", Target: `phoneNumbers[type eq "mobile"].value`, Note: "optional, any form of number is taken"},
	{Source: "telephoneNumber", Target: `phoneNumbers[type eq "work"].value`, Note: "optional"},
	{Source: "objectId", Target: "externalId", Note: "better than the mailNickname that Entra proposes: it never changes"},
	{Source: "jobTitle", Target: "title", Note: "optional"},
	{Source: "preferredLanguage", Target: "preferredLanguage", Note: "optional"},
	{Source: "employeeId", Target: scim.EnterpriseUserURN + ":employeeNumber", Note: "optional"},
	{Source: "department", Target: scim.EnterpriseUserURN + ":department", Note: "optional"},
	{Source: "manager", Target: scim.EnterpriseUserURN + ":manager", Note: "optional, Entra sends the manager's id"},
}

var entraGroups = []mappingRow{
	{Source: "displayName", Target: "displayName", Note: "Entra finds groups by it", Match: true},
	{Source: "objectId", Target: "externalId"},
	{Source: "members", Target: "members"},
}

// ownAttribute is an attribute of a schema of the operator's own, as it is entered in Entra's attribute list.
type ownAttribute struct {
	Path, Type, Description string
	Many, Required          bool
}

type mappingSheet struct {
	Title string // as Entra names the mapping
	Rows  []mappingRow
	Own   []ownAttribute
}

type mappingData struct{ Sheets []mappingSheet }

// entraTypes are the types that Entra's attribute list offers, by ours.
var entraTypes = map[scim.DataType]string{
	scim.String: "String", scim.Boolean: "Boolean", scim.Integer: "Integer", scim.Decimal: "String",
	scim.DateTime: "DateTime", scim.Binary: "Binary", scim.Reference: "Reference",
}

// mapping is the sheet to have beside Entra's mapping page.
func (c *Console) mapping(v *visit) error {
	types := c.o.Service.Types()
	d := mappingData{Sheets: []mappingSheet{
		{Title: "Provision Microsoft Entra ID Users", Rows: entraUsers, Own: ownAttributes(types.ByName("User"))},
		{Title: "Provision Microsoft Entra ID Groups", Rows: entraGroups, Own: ownAttributes(types.ByName("Group"))},
	}}
	return c.render(v, "mapping", "Attribute mapping", d)
}

// ownAttributes lists what the operator's own extensions add to a resource type.
func ownAttributes(t *scim.ResourceType) []ownAttribute {
	var l []ownAttribute
	if t == nil {
		return nil
	}
	for _, e := range t.Extensions {
		if e.Schema.ID == scim.EnterpriseUserURN {
			continue
		}
		for _, a := range e.Schema.Attributes {
			if a.Mutability == scim.ReadOnly {
				continue
			}
			if a.Type != scim.Complex {
				l = append(l, ownAttribute{e.Schema.ID + ":" + a.Name, entraTypes[a.Type], a.Description, a.MultiValued, a.Required})
				continue
			}
			for _, s := range a.Sub {
				l = append(l, ownAttribute{e.Schema.ID + ":" + a.Name + "." + s.Name, entraTypes[s.Type], s.Description, a.MultiValued || s.MultiValued, a.Required && s.Required})
			}
		}
	}
	return l
}
