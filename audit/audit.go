// Package audit writes the journal as lines that prove by themselves that none of them was changed, left out or moved.
//
// A file is lines of JSON, each ended by one newline. Members stand in the order shown, without blanks:
//
//	{"audit":1,"after":41,"head":"…","hash":"…"}                                  the first line
//	{"seq":42,"time":"…","actor":"…","client":"…","request":"…","op":"…",
//	  "tenant":"…","type":"…","id":"…","detail":{…},"prev":"…","hash":"…"}        one change (on one line)
//	{"end":42,"head":"…","lines":1,"run":1,"hash":"…"}                            the end of a run
//
// hash is the SHA-256, in lower-case hexadecimal, of the bytes of the line that stand before `,"hash":`. prev is the hash of
// the change before, and head that of the last change so far. Before the first change of a journal, head is the SHA-256 of
// the text "scimbox audit 1 after <sequence>".
//
// The lines of changes follow from the journal and the head that they begin with, and from nothing else: whoever exports
// the same changes again gets the same bytes. A file grows by runs: what was written stays as it is, and each run ends with
// a line that counts all before it. What a file cannot prove by itself is that it was not cut off behind an earlier run,
// or written anew from its beginning; for that a head is kept at another place, and compared
// (docs/decisions/0076-the-audit-chain.md).
package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"time"

	"scimbox/storage"
)

const hashLen = sha256.Size * 2

// Chain is a place in the journal, and the hash of all up to it.
type Chain struct {
	Seq  uint64 `json:"seq"`  // of the last change in it
	Head string `json:"head"` // of that change
}

// Start is a chain that has nothing yet: its first change is the one behind after.
func Start(after uint64) Chain {
	sum := sha256.Sum256([]byte("scimbox audit 1 after " + strconv.FormatUint(after, 10)))
	return Chain{after, hex.EncodeToString(sum[:])}
}

var wellFormed = regexp.MustCompile(`^[0-9a-f]{64}$`)

// At is the chain that a file has ended with.
func At(seq uint64, head string) (Chain, error) {
	if !wellFormed.MatchString(head) {
		return Chain{}, fmt.Errorf("%q is no head of a chain; one is 64 characters, 0-9 and a-f", head)
	}
	return Chain{seq, head}, nil
}

// close ends a line with its hash.
func closeLine(b []byte, from int) ([]byte, string) {
	sum := sha256.Sum256(b[from:])
	h := hex.EncodeToString(sum[:])
	return append(append(append(b, `,"hash":"`...), h...), "\"}\n"...), h
}

// Begin appends the first line of a file to b.
func (c Chain) Begin(b []byte) []byte {
	from := len(b)
	b = fmt.Appendf(b, `{"audit":1,"after":%d,"head":"%s"`, c.Seq, c.Head)
	b, _ = closeLine(b, from)
	return b
}

// End appends the last line of a run to b. lines are the changes in the file.
func (c Chain) End(b []byte, lines int64, run int) []byte {
	from := len(b)
	b = fmt.Appendf(b, `{"end":%d,"head":"%s","lines":%d,"run":%d`, c.Seq, c.Head, lines, run)
	b, _ = closeLine(b, from)
	return b
}

// Append appends the line of a change to b and moves the chain. Changes come without a gap, except where the journal itself says
// that changes were lost.
func (c *Chain) Append(b []byte, e *storage.Entry) ([]byte, error) {
	if e.Seq != c.Seq+1 && !(e.Op == storage.OpLoss && e.Seq > c.Seq) {
		return b, fmt.Errorf("the journal has change %d behind %d; what is between is missing", e.Seq, c.Seq)
	}
	from := len(b)
	b = append(b, `{"seq":`...)
	b = strconv.AppendUint(b, e.Seq, 10)
	for _, m := range [...][2]string{
		{"time", e.Time.UTC().Format(time.RFC3339Nano)}, {"actor", e.Actor}, {"client", e.Client}, {"request", e.Request}, {"op", e.Op},
		{"tenant", e.Ref.Tenant}, {"type", e.Ref.Kind}, {"id", e.Ref.ID},
	} {
		b = append(append(append(b, `,"`...), m[0]...), `":`...)
		b = appendText(b, m[1])
	}
	b = append(b, `,"detail":`...)
	b = appendDetail(b, e.Detail)
	b = append(append(append(b, `,"prev":"`...), c.Head...), '"')
	b, c.Head = closeLine(b, from)
	c.Seq = e.Seq
	return b, nil
}

func appendText(b []byte, s string) []byte {
	var w bytes.Buffer
	enc := json.NewEncoder(&w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic(err) // a string can always be written
	}
	return append(b, bytes.TrimSuffix(w.Bytes(), []byte("\n"))...)
}

// appendDetail appends what the journal says of a change: JSON as it is there, without blanks, and a text if it is none.
func appendDetail(b, detail []byte) []byte {
	var w bytes.Buffer
	if json.Compact(&w, detail) != nil {
		return appendText(b, string(detail))
	}
	return append(b, w.Bytes()...)
}

// Problem says what is wrong with a file, and where.
type Problem struct {
	Line int64 // 1 is the first
	Text string
}

func (p *Problem) Error() string { return fmt.Sprintf("line %d: %s", p.Line, p.Text) }

// Summary is what was found in a file.
type Summary struct {
	After uint64 `json:"after"` // the change before the first
	From  string `json:"from"`  // the head that the file begins with
	Chain        // the last change, and its head
	Lines int64  `json:"lines"` // changes
	Runs  int    `json:"runs"`
	// Fresh says that the file begins a chain, and does not continue that of another file.
	Fresh bool `json:"fresh"`
	// Ended says that the file ends with the end of a run. One that does not was cut, or is being written.
	Ended bool `json:"ended"`
}

// Verifier examines lines as they come. Its zero value is at the beginning of a file.
type Verifier struct {
	Summary
	line int64
}

var (
	headLine = regexp.MustCompile(`^\{"audit":(\d+),"after":(\d+),"head":"([0-9a-f]{64})"$`)
	endLine  = regexp.MustCompile(`^\{"end":(\d+),"head":"([0-9a-f]{64})","lines":(\d+),"run":(\d+)$`)
	seqLine  = regexp.MustCompile(`^\{"seq":(\d+),`)
	// The members before op are texts, in which every quotation mark is escaped.
	lossLine = regexp.MustCompile(`^\{"seq":\d+,"time":"[^"]*","actor":"[^"]*","client":"[^"]*","request":"[^"]*","op":"` + storage.OpLoss + `",`)
	prevTail = regexp.MustCompile(`,"prev":"([0-9a-f]{64})"$`)
)

const hashTail = len(`,"hash":"`) + hashLen + len(`"}`)

// Line examines the next line, without its newline.
func (v *Verifier) Line(line []byte) error {
	v.line++
	fail := func(format string, args ...any) error { return &Problem{v.line, fmt.Sprintf(format, args...)} }
	if len(line) < hashTail {
		return fail("it is no line of an audit file, or was cut")
	}
	body, tail := line[:len(line)-hashTail], string(line[len(line)-hashTail:])
	sum := sha256.Sum256(body)
	if want := `,"hash":"` + hex.EncodeToString(sum[:]) + `"}`; tail != want {
		return fail("it was changed: its hash does not fit what it says")
	}
	number := func(b []byte) uint64 {
		n, err := strconv.ParseUint(string(b), 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	if m := headLine.FindSubmatch(body); m != nil {
		switch {
		case v.line > 1:
			return fail("another file begins here")
		case string(m[1]) != "1":
			return fail("the file is of form %s, and this program knows 1", m[1])
		}
		v.After, v.From = number(m[2]), string(m[3])
		v.Chain = Chain{v.After, v.From}
		v.Fresh = v.Chain == Start(v.After)
		return nil
	}
	if v.line == 1 {
		return fail("the beginning of the file is missing")
	}
	if m := endLine.FindSubmatch(body); m != nil {
		switch {
		case v.Ended || number(m[1]) != v.Seq || string(m[2]) != v.Head || number(m[3]) != uint64(v.Lines):
			return fail("a run that ended at change %s, with %s changes in the file, does not fit what stands before it: change %d, %d changes; lines are missing or were moved", m[1], m[3], v.Seq, v.Lines)
		case number(m[4]) != uint64(v.Runs+1):
			return fail("run %s ends here, and %d was expected; the end of a run is missing", m[4], v.Runs+1)
		}
		v.Runs, v.Ended = v.Runs+1, true
		return nil
	}
	m, p := seqLine.FindSubmatch(body), prevTail.FindSubmatch(body)
	if m == nil || p == nil {
		return fail("it is no line of an audit file")
	}
	switch seq := number(m[1]); {
	case seq != v.Seq+1 && !(seq > v.Seq && lossLine.Match(body)):
		return fail("change %d stands behind change %d; lines are missing or were moved", seq, v.Seq)
	case string(p[1]) != v.Head:
		return fail("change %d does not continue the one before it; one of them was replaced", seq)
	}
	v.Seq, v.Head = number(m[1]), string(tail[len(`,"hash":"`):len(`,"hash":"`)+hashLen])
	v.Lines, v.Ended = v.Lines+1, false
	return nil
}

// Verify examines a file to its end, and returns what is in it. known says whether head is that of the file or of one of its
// changes; "" always is. A file that does not end with the end of a run is told by the Summary, and not as an error.
func Verify(r io.Reader, head string) (s Summary, known bool, err error) {
	v := &Verifier{}
	in := newLines(r)
	known = head == ""
	for {
		line, whole, err := in.next()
		switch {
		case err == io.EOF:
			return v.Summary, known, nil
		case err != nil:
			return v.Summary, false, err
		case !whole:
			v.Ended = false
			continue
		}
		if err := v.Line(line); err != nil {
			return v.Summary, false, err
		}
		known = known || v.Head == head
	}
}

// Next writes what a journal has behind a chain: its first line, its changes up to the last, and the end of a run. read returns
// some changes behind a sequence, none at the end.
func Next(w io.Writer, c Chain, read func(after uint64) ([]storage.Entry, error)) error {
	b := c.Begin(nil)
	lines := int64(0)
	for {
		rows, err := read(c.Seq)
		if err != nil {
			return err
		}
		for i := range rows {
			if b, err = c.Append(b, &rows[i]); err != nil {
				return err
			}
			lines++
		}
		if len(rows) == 0 {
			b = c.End(b, lines, 1)
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		if len(rows) == 0 {
			return nil
		}
		b = b[:0]
	}
}
