package historycheck

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/keytail/keytail/internal/history"
)

// decisionsHeader is the header of a file of writes that has none. Requests have different
// requirements, and keys may be older than the records.
func decisionsHeader(in Input) history.Header {
	return history.Header{
		MaxStaleMS: history.Milliseconds(in.MaxStale), ClockUncertaintyMS: history.Milliseconds(in.ClockUncertainty),
		Requests: history.Vary, Initial: []string{history.AnyState},
	}
}

// decision is a line of a decision log (docs/logs.md), as far as it is judged.
type decision struct {
	Time     time.Time `json:"time"`
	Code     string    `json:"code"`
	KeyID    string    `json:"key_id"`
	AsOf     time.Time `json:"as_of"`
	Revision string    `json:"revision"`
	Instance string    `json:"instance"`
}

// judgedDecisions are the codes that are about a key that was found. Every other line has
// no key_id, or no data that could be stale.
var judgedDecisions = []string{history.Valid, history.Disabled, history.Expired, history.Forbidden, history.InsufficientPermissions}

// decisionLine is the longest line of a decision log.
const decisionLine = 64 << 10

// decisionsOf reads a decision log.
func (c *checker) decisionsOf(ctx context.Context, name string, use func(*answer)) error {
	file, err := openFile(name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	from := bufio.NewReaderSize(file, decisionLine)
	for number := 1; ; number++ {
		line, err := from.ReadSlice('\n')
		if err == nil {
			err = interrupted(ctx, number)
		}
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
			return &history.LineError{Line: number, Problem: fmt.Errorf("it is longer than %d bytes, so it is not of a decision log", decisionLine)}
		case err != nil && !errors.Is(err, io.EOF):
			return err
		}
		c.report.Lines++
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		a, err := answerOfDecision(line)
		switch {
		case err != nil:
			return &history.LineError{Line: number, Problem: err}
		case a == nil:
			c.totals.Other++
		default:
			use(answerOf(a, name, number))
		}
	}
}

// answerOfDecision is nil for a line that is not about a key that was found.
func answerOfDecision(line []byte) (*history.Answer, error) {
	var d decision
	switch err := json.Unmarshal(line, &d); {
	case err != nil:
		return nil, fmt.Errorf("it is not a line of a decision log: %w. If the daemon was killed while it wrote, delete the line", err)
	case d.Time.IsZero() || d.Code == "":
		return nil, errors.New("it is not a line of a decision log: it has no time or no code")
	case d.KeyID == "" || !slices.Contains(judgedDecisions, d.Code):
		return nil, nil
	case d.KeyID == "[masked]":
		return nil, errors.New("its key_id is masked, so no write can be found for it: record without key_id in --decision-log-mask")
	case d.Time.Year() < 1970 || d.Time.Year() > 2200:
		return nil, errors.New("its time must be between the years 1970 and 2200")
	}
	if _, ok := history.ParseRevision(d.Revision); !ok {
		return nil, errors.New("its revision is not 16 hexadecimal digits")
	}
	// The request was decided at that time: the log has no other one.
	return &history.Answer{Key: d.KeyID, Code: d.Code, Asked: d.Time, Given: d.Time, AsOf: d.AsOf, Revision: d.Revision, Instance: d.Instance}, nil
}
