package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"scimbox/audit"
	"scimbox/storage"
)

// auditBatch is how many changes are read at once.
const auditBatch = 1000

// exportAudit answers with the journal as audit lines, up to the change that is the last one now. Without a head the chain
// begins where it is asked to, and without a place with the first change that there is.
func (h *handler) exportAudit(w http.ResponseWriter, r *http.Request) error {
	v, ctx := r.URL.Query(), r.Context()
	until := h.Store.LastSeq()
	first, err := h.Store.FirstSeq(ctx)
	if err != nil {
		return err
	}
	begins := min(first-1, until) // before the first change that there is
	after := begins
	if s := v.Get("after"); s != "" {
		if after, err = strconv.ParseUint(s, 10, 64); err != nil {
			return &Error{Invalid, fmt.Sprintf("the position is %q; it is the number of a change", s)}
		}
	}
	switch {
	case after > until:
		return &Error{Invalid, fmt.Sprintf("the journal ends with change %d, and %d is behind it; these are not the data that the file was made of, or changes have been lost", until, after)}
	case after < begins:
		return &Error{Invalid, fmt.Sprintf("the journal begins with change %d, so that %d to %d cannot be exported any more; begin another file (--since %d)", begins+1, after+1, begins, begins)}
	}
	chain := audit.Start(after)
	if head := v.Get("head"); head != "" {
		if chain, err = audit.At(after, head); err != nil {
			return &Error{Invalid, err.Error()}
		}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	err = audit.Next(w, chain, func(seq uint64) ([]storage.Entry, error) {
		if seq >= until {
			return nil, nil
		}
		rows, err := h.Store.Journal(ctx, seq, int(min(auditBatch, until-seq)))
		if err == nil && len(rows) == 0 {
			err = fmt.Errorf("change %d was removed from the journal meanwhile", seq+1)
		}
		return rows, err
	})
	if err != nil && ctx.Err() == nil {
		h.Logger.Error("the journal could not be exported", "error", err)
		if err := json.NewEncoder(w).Encode(struct {
			Error *Error `json:"error"`
		}{explain(err)}); err != nil {
			h.Logger.Debug("an answer to the command line was not written", "error", err)
		}
		return nil
	}
	return nil
}

// AuditFrom is where an export begins.
type AuditFrom struct {
	After string // number of the change before the first, "" for all that there are
	Head  string // of the chain up to it; "" begins a chain there
}

// Audit calls emit with each line of an export, its newline included: the first line, the changes, and the end of the run.
func (c *Client) Audit(ctx context.Context, from AuditFrom, emit func(line []byte) error) error {
	v := url.Values{}
	if from.After != "" {
		v.Set("after", from.After)
	}
	if from.Head != "" {
		v.Set("head", from.Head)
	}
	resp, err := c.send(ctx, http.MethodGet, "/v1/audit?"+v.Encode(), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var check audit.Verifier
	in := bufio.NewReaderSize(resp.Body, 64<<10)
	for !check.Ended {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return errors.New("the server went away in the middle of the export")
		}
		if wrong := check.Line(line[:len(line)-1]); wrong != nil {
			var failure struct {
				Error *Error `json:"error"`
			}
			if json.Unmarshal(line, &failure) == nil && failure.Error != nil {
				return failure.Error
			}
			return fmt.Errorf("the server's answer does not fit together: %w", wrong)
		}
		if err := emit(line); err != nil {
			return err
		}
	}
	return nil
}
