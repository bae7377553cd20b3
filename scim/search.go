package scim

import (
	"net/http"
	"strconv"
)

// list answers a GET on a collection.
func (h *handler) list(q *request, types []*ResourceType) error {
	p := q.params
	f := query{filter: p.get("filter"), sortBy: p.get("sortby"), attributes: names(p.get("attributes")), excluded: names(p.get("excludedattributes")), start: 1, count: -1}
	_, f.filtered = p.lookUp("filter")
	if c, given := p.lookUp("cursor"); given {
		f.cursor = new(c)
	}
	var err error
	if f.descending, err = descending(p.get("sortorder")); err != nil {
		return err
	}
	if v := p.get("startindex"); v != "" {
		if f.start, err = strconv.Atoi(v); err != nil {
			return bad(InvalidValue, "startIndex is %s; expected is an integer, the first resource is 1", quote(v))
		}
	}
	if v := p.get("count"); v != "" {
		if f.count, err = strconv.Atoi(v); err != nil {
			return badCount(f, v)
		}
		f.count = max(f.count, 0)
	}
	return h.find(q, types, f)
}

func badCount(f query, v string) error {
	scimType := InvalidValue
	if f.cursor != nil {
		scimType = InvalidCount
	}
	return bad(scimType, "count is %s; expected is an integer", quote(v))
}

func descending(order string) (bool, error) {
	switch foldName(order) {
	case "", "ascending":
		return false, nil
	case "descending":
		return true, nil
	}
	return false, bad(InvalidValue, "sortOrder is %s; expected is ascending or descending", quote(order))
}

// searchBody answers a POST to .search (RFC 7644 section 3.4.3).
func (h *handler) searchBody(q *request, types []*ResourceType) error {
	if q.r.Method != http.MethodPost {
		return q.allow("POST")
	}
	n, err := q.body(h.s.o.MaxBody)
	if err != nil {
		return err
	}
	f, err := searchRequest(n, q.q)
	if err != nil {
		return err
	}
	return h.find(q, types, f)
}

func searchRequest(n *node, q quirks) (query, error) {
	f := query{start: 1, count: -1}
	if n.kind != '{' {
		return f, bad(InvalidSyntax, "the body is %s; expected is an object, the SearchRequest", n.found())
	}
	if err := checkMessage(n, findURN, false); err != nil {
		return f, err
	}
	var err error
	str := func(name string) string {
		v := n.get(name)
		if v == nil || v.kind == 'n' {
			return ""
		}
		if v.kind != '"' && err == nil {
			err = wrong(name, v, "a string")
		}
		return v.text
	}
	list := func(name string) []string {
		v := n.get(name)
		if v == nil || v.kind == 'n' {
			return nil
		}
		if v.kind == '"' && q.soleElements {
			return names(v.text)
		}
		var l []string
		for _, e := range v.items {
			if e.kind != '"' {
				err = wrong(name, e, "an array of attribute names")
			}
			l = append(l, e.text)
		}
		if v.kind != '[' && err == nil {
			err = wrong(name, v, "an array of attribute names")
		}
		return l
	}
	integer := func(name string, byDefault int) int {
		v := n.get(name)
		if v == nil || v.kind == 'n' {
			return byDefault
		}
		i, e := strconv.Atoi(v.text)
		if v.kind != '0' || e != nil {
			if err == nil {
				err = wrong(name, v, "an integer")
				if name == "count" && f.cursor != nil {
					err = badCount(f, v.text)
				}
			}
			return byDefault
		}
		return i
	}
	if v := n.get("filter"); v != nil && v.kind != 'n' {
		f.filtered = true
	}
	f.filter, f.sortBy = str("filter"), str("sortBy")
	order := str("sortOrder")
	if v := n.get("cursor"); v != nil && v.kind != 'n' {
		c := str("cursor")
		f.cursor = &c
	}
	f.attributes, f.excluded = list("attributes"), list("excludedAttributes")
	f.start = integer("startIndex", 1)
	if v := n.get("count"); v != nil && v.kind != 'n' {
		f.count = max(integer("count", 0), 0)
	}
	if err != nil {
		return f, err
	}
	f.descending, err = descending(order)
	return f, err
}

// find answers a query with a ListResponse.
func (h *handler) find(q *request, types []*ResourceType, f query) error {
	q.takeRoom()
	p, err := h.s.search(q.ctx, &q.call, types, f)
	if err != nil {
		return err
	}
	b := p.list()
	q.to = p.text
	return q.writeTagged(b)
}

// writeTagged writes what is no resource of a version, such as a list, under an entity tag of its own, so that a client that
// polls it learns that nothing has changed.
func (q *request) writeTagged(b []byte) error {
	var room [32]byte
	tag := string(append(appendTag(append(room[:0], `W/"`...), b), '"'))
	q.w.Header()["Etag"] = q.value(tagValue, tag)
	if (q.r.Method == http.MethodGet || q.r.Method == http.MethodHead) && q.ifNoneMatch.names(tag[3:len(tag)-1]) {
		q.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return q.write(http.StatusOK, b)
}
