package scim

import (
	"bytes"
	"context"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"scimbox/storage"
)

// What a person looks at: lists that are searched as one types, and one resource with everything around it. Nothing here
// examines more than a page's worth of resources, whatever a tenant holds: an index is walked from where the last page
// ended, and nobody counts what lies behind it. Clients ask with filters (query.go), which promise more and cost more.

const (
	maxListed   = 200  // resources on a page
	maxLooked   = 2000 // resources that are looked at for one page
	maxSearched = 64   // bytes of a search text; terms keep 255
)

// ListQuery says which resources of a type a person wants to see.
type ListQuery struct {
	Search string // what one of the indexed texts begins with, or an id; "" = all
	Active *bool  // only those that are, or are not, active; nil = both
	Cursor string // Listing.Next of the page before, "" for the first
	Count  int    // resources on a page, 1 to 200; 0 = 50
}

// Listing is a page of resources.
type Listing struct {
	Resources [][]byte // as clients read them, without what is kept as links; in the order of the index that has found them
	Next      string   // where the next page begins, "" if there is none
	Total     int64    // resources of the type, whatever was searched for
	// Partial says that the page ended because enough was looked at, and not because it was full.
	Partial bool
}

// spot is where a page has ended: in which index, and behind which hit of it.
type spot struct {
	Stage int    `json:"s"`
	Value []byte `json:"v"`
	ID    string `json:"i"`
}

// stage is one index that a list is made of.
type stage struct {
	field  string
	prefix []byte // of the terms; nil = all
	exact  bool   // the term is prefix, and does not only begin with it: nobody types half an id
}

func (s stage) span() storage.TermRange {
	switch {
	case s.exact:
		return storage.Exactly(s.prefix)
	case s.prefix != nil:
		return storage.Prefix(s.prefix)
	}
	return storage.TermRange{}
}

func (s stage) finds(t storage.Term) bool {
	return t.Field == s.field && bytes.HasPrefix(t.Value, s.prefix) && (!s.exact || len(t.Value) == len(s.prefix))
}

// Types returns the schemas and resource types that the service was made with.
func (s *Service) Types() *Types { return s.types }

// List returns a page of the tenant's resources of a type. A search walks the indexes of texts one after the other, userName
// first, so that a resource is listed by the first of them that finds it, once.
func (s *Service) List(ctx context.Context, tenant string, t *ResourceType, q ListQuery) (*Listing, error) {
	count := min(q.Count, maxListed)
	if count <= 0 {
		count = 50
	}
	var at spot
	if q.Cursor != "" {
		raw, err := base64.RawURLEncoding.DecodeString(q.Cursor)
		if err == nil {
			err = json.Unmarshal(raw, &at)
		}
		if err != nil || at.Stage < 0 {
			return nil, bad(InvalidCursor, "the place in the list cannot be read; begin at its first page")
		}
	}
	search := strings.TrimSpace(q.Search)
	for len(search) > maxSearched {
		search = strings.ToValidUTF8(search[:maxSearched], "")
	}
	stages := s.stages(t, search)
	shown, err := newProjection(t, nil, notOwn(t), quirks{})
	if err != nil {
		return nil, err
	}
	var l *Listing
	err = s.store.View(ctx, tenant, func(tx *storage.Tx) error {
		l = &Listing{}
		var err error
		if l.Total, err = tx.Count(t.Name); err != nil {
			return err
		}
		looked := 0
		last := at
		after := &storage.Hit{ID: at.ID, Value: at.Value}
		if at.ID == "" {
			after = nil
		}
		for i := at.Stage; i < len(stages); i, after = i+1, nil {
			span := stages[i].span()
			span.After = after
			for hit, err := range tx.Find(t.Name, stages[i].field, span) {
				if err != nil {
					return err
				}
				if looked++; looked > maxLooked {
					l.Partial = true
					l.Next, err = last.String()
					return err
				}
				r, err := s.listed(tx, t, stages, i, hit, q.Active)
				if err != nil {
					return err
				}
				if r != nil && len(l.Resources) == count {
					l.Next, err = last.String()
					return err
				}
				if len(l.Resources) < count { // a full page ends where it was full; what follows is only asked whether it is there
					last = spot{i, hit.Value, hit.ID}
				}
				if r == nil {
					continue
				}
				b, err := appendResource(nil, r, &shown)
				if err != nil {
					return err
				}
				l.Resources = append(l.Resources, b)
			}
		}
		return nil
	})
	return l, err
}

// String is the form of a spot that goes into an address line.
func (p spot) String() (string, error) {
	b, err := json.Marshal(p)
	return base64.RawURLEncoding.EncodeToString(b), err
}

// stages says which indexes a list is made of. Whoever searches finds by every text that there is an index of; the client's
// own name comes last, because people type names.
func (s *Service) stages(t *ResourceType, search string) []stage {
	var texts []indexedAttribute
	for _, x := range s.index[t] {
		if x.target != t.idAttr && x.path.Attr != t.metaAttr && (x.target.Type == String || x.target.Type == Reference) {
			texts = append(texts, x)
		}
	}
	slices.SortStableFunc(texts, func(a, b indexedAttribute) int { return rankOf(a) - rankOf(b) })
	if search == "" {
		for _, x := range texts {
			if x.sorted && x.target != t.externalIDAttr {
				return []stage{{field: x.field}}
			}
		}
		return []stage{{field: foldName(t.idAttr.Name)}}
	}
	l := []stage{{foldName(t.idAttr.Name), presentValue(t.idAttr, textValue(search)), true}}
	for _, x := range texts {
		l = append(l, stage{field: x.field, prefix: presentValue(x.target, textValue(search))})
	}
	return l
}

func rankOf(x indexedAttribute) int {
	switch x.field {
	case "username":
		return 0
	case "displayname":
		return 1
	case "externalid":
		return 3
	}
	return 2
}

// listed returns the resource of a hit if it belongs on the page here, and not where an earlier hit has found it.
func (s *Service) listed(tx *storage.Tx, t *ResourceType, stages []stage, i int, hit storage.Hit, active *bool) (*Resource, error) {
	rec, err := tx.Get(t.Name, hit.ID)
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, term := range rec.Terms {
		for j, st := range stages[:i+1] {
			if st.finds(term) && (j < i || bytes.Compare(term.Value, hit.Value) < 0) {
				return nil, nil
			}
		}
	}
	r, err := s.load(tx, t, rec, "")
	if err != nil {
		return nil, err
	}
	if a := t.root.sub("active"); active != nil && a != nil {
		v := r.own(a)
		if is := !v.assigned() || v.flag; is != *active {
			return nil, nil
		}
	}
	return r, nil
}

// notOwn names the attributes that are kept as links, or computed from them.
func notOwn(t *ResourceType) []string {
	var l []string
	for _, a := range t.root.Sub {
		if a.linked || a.derived {
			l = append(l, a.Name)
		}
	}
	return l
}

// Shown is one resource as a person looks at it.
type Shown struct {
	Body    []byte        // as clients read it, without what is kept as links
	Stamp   storage.Stamp // when it was made and last changed
	Groups  []Related     // those that it is a member of, at most 100, also by way of others
	More    bool          // and there are more of them
	Members []string      // names of the attributes whose values Members returns
}

// Related is a resource at the other end of a link.
type Related struct {
	Type    *ResourceType // nil if nobody knows the resource
	ID      string
	Name    string // userName or displayName, "" if it has none
	Display string // displayName beside a userName, or what the client said of a resource that nobody knows
	Direct  bool   // linked itself, and not by way of another
	Off     bool   // active is false
}

const maxRelated = 100

// Show returns one resource. An id that no resource has is an *Error of status 404.
func (s *Service) Show(ctx context.Context, tenant string, t *ResourceType, id string) (*Shown, error) {
	shown, err := newProjection(t, nil, notOwn(t), quirks{})
	if err != nil {
		return nil, err
	}
	var o *Shown
	err = s.store.View(ctx, tenant, func(tx *storage.Tx) error {
		rec, err := s.fetch(tx, t, id)
		if err != nil {
			return err
		}
		r, err := s.load(tx, t, rec, "")
		if err != nil {
			return err
		}
		o = &Shown{Stamp: rec.Stamp}
		if o.Body, err = appendResource(nil, r, &shown); err != nil {
			return err
		}
		for _, a := range t.root.Sub {
			switch {
			case a.linked:
				o.Members = append(o.Members, a.Name)
			case a.derived:
				v, err := s.memberships(tx, rec.Ref, a, "", "", nil)
				if err != nil {
					return err
				}
				for e := range v.each {
					if len(o.Groups) == maxRelated {
						o.More = true
						break
					}
					g := Related{ID: e.sub(a.value()).text, Name: e.sub(a.sub("display")).text, Direct: e.sub(a.sub("type")).text == "direct"}
					for _, kind := range a.kinds() {
						if there, err := tx.Has(kind, g.ID); err != nil {
							return err
						} else if there {
							g.Type = s.types.ByName(kind)
						}
					}
					o.Groups = append(o.Groups, g)
				}
			}
		}
		return nil
	})
	return o, err
}

// Members returns a page of what a resource refers to by a linked attribute, in the order of ids, behind the id after; next is
// "" if there are no more.
func (s *Service) Members(ctx context.Context, tenant string, t *ResourceType, id, attribute, after string, count int) (l []Related, next string, err error) {
	a := t.root.sub(attribute)
	if a == nil || !a.linked {
		return nil, "", bad(InvalidPath, "%s is no attribute of a %s that refers to others", quote(attribute), t.Name)
	}
	if count <= 0 || count > maxListed {
		count = 50
	}
	err = s.store.View(ctx, tenant, func(tx *storage.Tx) error {
		l, next = nil, ""
		if _, err := s.fetch(tx, t, id); err != nil {
			return err
		}
		from := storage.Ref{Tenant: tenant, Kind: t.Name, ID: id}
		for link, err := range tx.Links(from, linkField(a), after) {
			if err != nil {
				return err
			}
			if len(l) == count {
				next = l[count-1].ID
				return nil
			}
			r, err := s.related(tx, a, link)
			if err != nil {
				return err
			}
			l = append(l, r)
		}
		return nil
	})
	return l, next, err
}

// related describes the resource that a link leads to.
func (s *Service) related(tx *storage.Tx, a *Attribute, link storage.Link) (Related, error) {
	r := Related{ID: link.To.ID, Direct: true}
	t := s.types.ByName(link.To.Kind)
	if t == nil {
		return r, nil
	}
	rec, err := tx.Get(t.Name, link.To.ID)
	if isNotFound(err) {
		r.Display = s.linkValue(a, link, "").sub(a.sub("display")).text
		return r, nil
	}
	if err != nil {
		return r, err
	}
	o, err := decodeBody(t, rec.Body)
	if err != nil {
		return r, err
	}
	r.Type, r.Name = t, labelOf(t, o)
	if d := t.root.sub("displayName"); d != nil && o.Get(d).text != r.Name {
		r.Display = o.Get(d).text
	}
	if active := t.root.sub("active"); active != nil {
		v := o.Get(active)
		r.Off = v.assigned() && !v.flag
	}
	return r, nil
}
