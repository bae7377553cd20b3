package bench

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCompare(t *testing.T) {
	earlier := &Report{Results: []Result{{Name: "read", Ratio: 0.8}, {Name: "page", Ratio: 1, Lower: true}, {Name: "start", P50: time.Second}, {Name: "gone", Ratio: 0.5}}}
	gone := Worse{"gone", 0.5, 0}
	for name, test := range map[string]struct {
		read, page float64
		met        bool
		want       []Worse
	}{
		"the same":                    {0.8, 1, true, nil},
		"a little worse":              {0.61, 1.24, false, nil},
		"better":                      {1.6, 0.5, true, nil},
		"slower":                      {0.59, 1, true, []Worse{{"read", 0.8, 0.59}}},
		"deeper is worse":             {0.8, 1.26, false, []Worse{{"page", 1, 1.26}}},
		"grows, but less than it may": {0.8, 1.26, true, nil},
		"both":                        {0.1, 9, false, []Worse{{"read", 0.8, 0.1}, {"page", 1, 9}}},
	} {
		now := &Report{Results: []Result{{Name: "page", Ratio: test.page, Lower: true, Met: test.met}, {Name: "read", Ratio: test.read, Met: true}, {Name: "start", P50: time.Hour}, {Name: "new", Ratio: 0.1}}}
		if diff := cmp.Diff(append(test.want, gone), now.Compare(earlier, 0.25)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestQuantiles(t *testing.T) {
	s := &sample{seconds: 2}
	if s.at(0.5) != 0 || s.perSecond() != 0 {
		t.Error("of nothing there is a quantile")
	}
	for i := range 100 {
		s.merge(&sample{took: []time.Duration{time.Duration(100 - i)}})
	}
	if s.at(0) != 1 || s.at(0.5) != 51 || s.at(0.99) != 100 || s.at(1) != 100 || s.perSecond() != 50 {
		t.Errorf("%v %v %v %v %v", s.at(0), s.at(0.5), s.at(0.99), s.at(1), s.perSecond())
	}
}

// The limit answers who has its token with the head and the body that it was given, and nobody else.
func TestLimit(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Type: application/scim+json\r\nContent-Length: 2\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nEtag: W/\"7\"\r\n\r\n{}"
	h, err := limitHandler([]byte(answer))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/scim/v2/Users/x", "/scim/v2/Users?filter=x"} {
		for token, status := range map[string]int{limitToken: 200, limitToken[1:]: 401, "": 401} {
			r := httptest.NewRequest("GET", path, nil)
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != status {
				t.Errorf("%s is answered with %d", path, w.Code)
			}
			want := http.Header{"Content-Type": {"application/scim+json"}, "Content-Length": {"2"}, "Etag": {`W/"7"`}}
			if diff := cmp.Diff(want, w.Header()); status == 200 && (diff != "" || w.Body.String() != "{}") {
				t.Errorf("%s is answered with %q and %s", path, w.Body, diff)
			}
		}
	}
	if _, err := limitHandler([]byte("{}")); err == nil {
		t.Error("a body alone is taken for an answer")
	}
}

// Users differ in everything that they are found by, and are of the size that is said.
func TestPeople(t *testing.T) {
	seen := map[string]bool{}
	for i := range 10_000 {
		for _, key := range []string{userName(i), externalID(i), displayName(i)} {
			if seen[key] {
				t.Fatalf("%s is there twice", key)
			}
			seen[key] = true
		}
	}
	if n := len(userBody(5)); n < 1100 || n > 1600 {
		t.Errorf("a user has %d bytes", n)
	}
}

// The rows of the limit are those that the service writes: as many for each create, with the user in them.
func TestRowsOf(t *testing.T) {
	creates, patches, err := rowsOf(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(creates) != recorded || len(patches) != recorded {
		t.Fatalf("%d creates, %d patches", len(creates), len(patches))
	}
	for i := 1; i < recorded; i++ {
		size := 0
		for _, w := range creates[i] {
			size += len(w.key) + len(w.value)
		}
		if len(creates[i]) < 8 || size < len(userBody(i)) || len(patches[i]) < 3 {
			t.Fatalf("create %d writes %d rows of %d bytes, its patch %d rows", i, len(creates[i]), size, len(patches[i]))
		}
	}
}
