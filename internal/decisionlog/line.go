package decisionlog

import (
	"encoding/json"
	"io"
	"slices"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
)

// line is one decision as it is written. docs/logs.md describes the fields.
type line struct {
	Time      api.Timestamp  `json:"time"`
	Operation string         `json:"operation"`
	RequestID string         `json:"request_id"`
	TraceID   string         `json:"trace_id,omitempty"`
	Code      string         `json:"code"`
	Reason    string         `json:"reason,omitempty"`
	KeyID     string         `json:"key_id,omitempty"`
	UserID    string         `json:"user_id,omitempty"`
	Source    string         `json:"source,omitempty"`
	AsOf      *api.Timestamp `json:"as_of,omitempty"`
	Revision  string         `json:"revision,omitempty"`
	Instance  string         `json:"instance"`
}

// Maskable are the fields that Config.Mask can name: those that can identify a person, a
// request or a machine.
var Maskable = []string{"request_id", "trace_id", "reason", "key_id", "user_id", "instance"}

// masked is the value of a masked field that is not empty.
const masked = "[masked]"

// mask tells which fields are masked.
type mask struct{ requestID, traceID, reason, keyID, userID, instance bool }

func maskOf(names []string) mask {
	has := func(name string) bool { return slices.Contains(names, name) }
	return mask{
		requestID: has("request_id"), traceID: has("trace_id"), reason: has("reason"),
		keyID: has("key_id"), userID: has("user_id"), instance: has("instance"),
	}
}

// apply replaces the values of masked fields.
func (m mask) apply(to *line) {
	for _, field := range []struct {
		is    bool
		value *string
	}{
		{m.requestID, &to.RequestID},
		{m.traceID, &to.TraceID},
		{m.reason, &to.Reason},
		{m.keyID, &to.KeyID},
		{m.userID, &to.UserID},
		{m.instance, &to.Instance},
	} {
		if field.is && *field.value != "" {
			*field.value = masked
		}
	}
}

// lineOf is the line of an entry.
func lineOf(e *entry, instance string) line {
	d := &e.decision
	v := &d.Verdict
	to := line{
		Time: api.Timestamp{Time: e.at}, Operation: d.Operation, RequestID: d.RequestID, TraceID: d.TraceID,
		Code: v.Code.String(), Reason: v.Reason.String(), Source: v.Source.String(), Instance: instance,
	}
	if d.Problem != "" {
		to.Code = string(d.Problem)
	}
	if r := v.Record; r != nil && v.Code >= apikey.Disabled {
		to.KeyID = r.KeyID
		// If the document cannot be read, its other fields are not reliable.
		if r.Defect == "" {
			to.UserID = r.UserID
		}
	}
	if !v.AsOf.IsZero() {
		to.AsOf = &api.Timestamp{Time: v.AsOf}
	}
	if v.Revision != 0 {
		to.Revision = clustertime.Time(v.Revision).String()
	}
	return to
}

// encoder writes lines of JSON to w. Ids may have characters that HTML escapes; a log is
// not HTML.
func encoder(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}
