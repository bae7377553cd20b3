package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"scimbox/storage"
)

func entries(n int) []storage.Entry {
	var l []storage.Entry
	for i := range n {
		l = append(l, storage.Entry{
			Seq: uint64(i + 1), Time: time.Date(2026, 11, 25, 9, 0, i, 1000*i, time.UTC),
			Origin: storage.Origin{Actor: "aaaaaaaaaaaa", Client: "192.0.2.7", Request: fmt.Sprint("q", i)},
			Op:     "patch", Ref: storage.Ref{Tenant: "default", Kind: "User", ID: fmt.Sprint("u", i)},
			Detail: fmt.Appendf(nil, `{"name":"n<%d>","changes":[{"path":"title", "new":"\u00e4"}]}`, i),
		})
	}
	return l
}

// export writes the changes behind a chain, a few at a time.
func export(t *testing.T, c Chain, all []storage.Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	err := Next(&b, c, func(after uint64) ([]storage.Entry, error) {
		i := slices.IndexFunc(all, func(e storage.Entry) bool { return e.Seq > after })
		if i < 0 {
			return nil, nil
		}
		return all[i:min(i+3, len(all))], nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func verify(data []byte, head string) (Summary, bool, error) {
	return Verify(bytes.NewReader(data), head)
}

// sound reports whether a file is whole as far as it can say itself.
func sound(data []byte) bool {
	s, _, err := verify(data, "")
	return err == nil && s.Ended
}

// The form is for programs of others, and for years.
func TestForm(t *testing.T) {
	got := string(export(t, Start(0), entries(1)))
	want := `{"audit":1,"after":0,"head":"1309e788accea1a583819b40a2f7107d61f195d885c6099d61dc94d025fabbb6","hash":"140ec4cac9a17b1cd754c0b4d5bc28e5586ec663fec30eac35a18a48902e519e"}
{"seq":1,"time":"2026-11-25T09:00:00Z","actor":"aaaaaaaaaaaa","client":"192.0.2.7","request":"q0","op":"patch","tenant":"default","type":"User","id":"u0","detail":{"name":"n<0>","changes":[{"path":"title","new":"\u00e4"}]},"prev":"1309e788accea1a583819b40a2f7107d61f195d885c6099d61dc94d025fabbb6","hash":"5d383125682a20d8c3f009d66b9883d20783a48b555b055eaf3b321f6987a94a"}
{"end":1,"head":"5d383125682a20d8c3f009d66b9883d20783a48b555b055eaf3b321f6987a94a","lines":1,"run":1,"hash":"dabf288d62be8891c48309d8787391047c670a4d1ee1bc1e07b032182049eb04"}
`
	if got != want {
		t.Errorf("the form has changed, which must not be without a new number:\n%s\n%s", got, want)
	}
}

func TestSameJournalSameLines(t *testing.T) {
	all := entries(10)
	whole := export(t, Start(0), all)
	s, _, err := verify(whole, "")
	if err != nil || s.Seq != 10 || s.Lines != 10 || s.Runs != 1 || !s.Fresh || !s.Ended || s.Chain.Seq != 10 {
		t.Fatalf("%+v, %v", s, err)
	}
	if !bytes.Equal(whole, export(t, Start(0), all)) {
		t.Error("the same journal gives other lines")
	}
	// The lines behind a place are the same when they are asked for from there, also if the journal has lost what is before.
	lines := bytes.SplitAfter(whole, []byte("\n"))
	for at := 1; at < 10; at++ {
		first, _, err := verify(slices.Concat(lines[:at+1]...), "")
		if err != nil {
			t.Fatal(err)
		}
		c, err := At(first.Seq, first.Head)
		if err != nil {
			t.Fatal(err)
		}
		tail := bytes.SplitAfter(export(t, c, all[at:]), []byte("\n"))
		if !slices.EqualFunc(tail[1:len(tail)-2], lines[at+1:11], bytes.Equal) {
			t.Errorf("behind %d the lines are others:\n%s", at, bytes.Join(tail, nil))
		}
	}
	// A journal that has lost its beginning gives a chain of its own.
	late := export(t, Start(4), all[4:])
	if s, _, err = verify(late, ""); err != nil || s.After != 4 || s.Lines != 6 || !s.Fresh {
		t.Errorf("%+v, %v", s, err)
	}
	if err := Next(new(bytes.Buffer), Start(0), func(uint64) ([]storage.Entry, error) { return all[4:], nil }); err == nil {
		t.Error("changes that are missing are passed over")
	}
	if _, err := At(1, "ABC"); err == nil {
		t.Error("ABC is taken for a head")
	}
}

// Any line that is changed, missing, doubled, swapped or cut is found; of three runs, so that there are ends in the middle.
// Behind changes that were lost, and whose loss was accepted, the journal goes on with a row that says so. The chain goes on with it:
// a file that has what the journal has lost keeps it. Without that row a gap is one.
func TestAcceptedLoss(t *testing.T) {
	all := entries(10)
	had := export(t, Start(0), all)
	s, _, err := verify(had, "")
	if err != nil {
		t.Fatal(err)
	}
	loss := storage.Entry{Seq: 100_010, Time: all[9].Time, Origin: storage.Origin{Actor: "local"}, Op: storage.OpLoss, Ref: storage.Ref{Tenant: "$system", Kind: "store", ID: "0a1b2c3d"}}
	next := all[9]
	next.Seq = 100_011
	more := export(t, s.Chain, []storage.Entry{loss, next})
	if s, _, err := verify(more, ""); err != nil || s.Seq != 100_011 || s.Lines != 2 || s.After != 10 {
		t.Errorf("%+v, %v", s, err)
	}
	for name, rows := range map[string][]storage.Entry{
		"a gap without a word":    {next},
		"a gap behind the word":   {loss, func() storage.Entry { e := next; e.Seq++; return e }()},
		"the word before its row": {func() storage.Entry { e := loss; e.Seq = 10; return e }()},
	} {
		c := s.Chain
		var err error
		for i := range rows {
			if _, e := c.Append(nil, &rows[i]); e != nil {
				err = e
			}
		}
		if err == nil {
			t.Errorf("%s is exported", name)
		}
	}
	// A line that was taken out is missed here too, and a detail that looks like the word is none.
	lines := bytes.SplitAfter(more, []byte("\n"))
	if sound(bytes.Join(append(lines[:1:1], lines[2:]...), nil)) {
		t.Error("the line of the loss was taken out, and nobody misses it")
	}
	forged := next
	forged.Detail = []byte(`{"op":"accept-data-loss"}`)
	c := Chain{100_010, s.Head}
	line, err := c.Append(nil, &forged)
	if err != nil {
		t.Fatal(err)
	}
	if sound(slices.Concat(s.Chain.Begin(nil), line, c.End(nil, 1, 1))) {
		t.Error("a detail passes for an accepted loss")
	}
}

func TestEveryLineCounts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	all := entries(9)
	for n := 3; n <= 9; n += 3 {
		appendTo(t, path, all[:n])
	}
	whole, err := os.ReadFile(path)
	if err != nil || !sound(whole) {
		t.Fatalf("%v\n%s", err, whole)
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	lines = lines[:len(lines)-1]
	if len(lines) != 13 {
		t.Fatalf("%d lines", len(lines))
	}
	broken := func(what string, l [][]byte) {
		t.Helper()
		data := slices.Concat(l...)
		if sound(data) {
			t.Errorf("%s is not found:\n%s", what, data)
		}
	}
	for i := range lines {
		broken(fmt.Sprintf("that line %d is missing", i+1), slices.Concat(lines[:i], lines[i+1:]))
		broken(fmt.Sprintf("that line %d is there twice", i+1), slices.Concat(lines[:i+1], lines[i:]))
		for j := range i {
			l := slices.Clone(lines)
			l[i], l[j] = l[j], l[i]
			broken(fmt.Sprintf("that lines %d and %d are swapped", i+1, j+1), l)
		}
		broken(fmt.Sprintf("an empty line behind line %d", i+1), slices.Insert(slices.Clone(lines), i+1, []byte("\n")))
	}
	for at := range whole {
		for _, c := range []byte{whole[at] ^ 1, whole[at] ^ 0x20, 0, '\n', ' ', '"', '0', 'f', 'F', 0xff} {
			if c == whole[at] {
				continue
			}
			data := bytes.Clone(whole)
			data[at] = c
			if sound(data) {
				t.Fatalf("byte %d changed from %q to %q is not found", at, whole[at], c)
			}
		}
		if sound(slices.Delete(bytes.Clone(whole), at, at+1)) {
			t.Fatalf("that byte %d is missing is not found", at)
		}
		if sound(slices.Insert(bytes.Clone(whole), at, ' ')) {
			t.Fatalf("a byte more at %d is not found", at)
		}
	}
	// Cut anywhere, except for the end of a run: what that proves is the head, which is kept elsewhere.
	ends := map[int]bool{len(slices.Concat(lines[:5]...)): true, len(slices.Concat(lines[:9]...)): true, len(whole): true}
	for at := range whole {
		if got := sound(whole[:at]); got != ends[at] {
			t.Errorf("cut at %d: sound is %v", at, got)
		}
	}
	// Which is known to the file for as long as it has the change.
	s, _, err := verify(whole, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{13, 9, 5} {
		_, known, err := verify(slices.Concat(lines[:n]...), s.Head)
		if err != nil || known != (n == 13) {
			t.Errorf("of %d lines: known is %v, %v", n, known, err)
		}
	}
	first, _, err := verify(slices.Concat(lines[:5]...), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, known, err := verify(whole, first.Head); err != nil || !known {
		t.Errorf("an earlier head: %v, %v", known, err)
	}
	// A line in place of another, with a hash that fits it, does not fit its neighbours.
	c := Start(0)
	forged, err := c.Append(nil, &storage.Entry{Seq: 1, Op: "delete", Detail: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	broken("a forged change", slices.Concat(lines[:1], [][]byte{forged}, lines[2:]))
}

// appendTo continues a file with what a journal has, as the command does.
func appendTo(t *testing.T, path string, all []storage.Entry) {
	t.Helper()
	if err := tryAppend(t, path, all); err != nil {
		t.Fatal(err)
	}
}

func tryAppend(t *testing.T, path string, all []storage.Entry) error {
	t.Helper()
	f, err := OpenFile(path)
	if err != nil {
		return err
	}
	defer f.Close()
	c := Start(0)
	if f.Begun() {
		c = f.Summary().Chain
	}
	lines := bytes.SplitAfter(export(t, c, all), []byte("\n"))
	if f.Begun() {
		lines = lines[1:]
	}
	for _, line := range lines[:len(lines)-2] {
		if err := f.Add(line); err != nil {
			return err
		}
	}
	return f.End()
}

// An export that was interrupted anywhere goes on where it was, and nothing that was written is written anew.
func TestContinueAnywhere(t *testing.T) {
	all := entries(4)
	dir := t.TempDir()
	path := filepath.Join(dir, "whole")
	appendTo(t, path, all)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, all)
	if again, err := os.ReadFile(path); err != nil || !bytes.Equal(again, whole) {
		t.Errorf("nothing new, and the file is another: %v\n%s", err, again)
	}
	for at := range whole {
		path := filepath.Join(dir, "cut")
		if err := os.WriteFile(path, whole[:at], 0o600); err != nil {
			t.Fatal(err)
		}
		err := tryAppend(t, path, all)
		got, readErr := os.ReadFile(path)
		if err != nil || readErr != nil || !bytes.Equal(got, whole) {
			t.Fatalf("cut at %d: %v, %v\n%s", at, err, readErr, got)
		}
	}
	// What was left of a line and is not the journal's is not continued.
	if err := os.WriteFile(path, slices.Concat(whole[:bytes.IndexByte(whole, '\n')+1], []byte(`{"seq":1,"time":"1999`)), 0o600); err != nil {
		t.Fatal(err)
	}
	var problem *Problem
	if err := tryAppend(t, path, all); !errors.As(err, &problem) || problem.Line != 2 {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(path, bytes.Replace(whole, []byte("u1"), []byte("u7"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := tryAppend(t, path, all); !errors.As(err, &problem) || problem.Line != 3 || !strings.Contains(err.Error(), "was changed") {
		t.Errorf("%v", err)
	}
}

func TestNoJSON(t *testing.T) {
	c := Start(0)
	b, err := c.Append(c.Begin(nil), &storage.Entry{Seq: 1, Detail: []byte("no\nJSON\xff")})
	if err != nil {
		t.Fatal(err)
	}
	if b = c.End(b, 1, 1); !sound(b) || bytes.Count(b, []byte("\n")) != 3 {
		t.Errorf("%s", b)
	}
	for _, data := range []string{"", "x", "x\n", "{}\n"} {
		if sound([]byte(data)) {
			t.Errorf("%q is sound", data)
		}
	}
	if _, _, err := verify(bytes.Repeat([]byte("x"), maxLine+1), ""); err == nil {
		t.Error("a line of any length is read")
	}
}
