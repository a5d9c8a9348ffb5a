package forwardauth

import (
	"net/http"
	"testing"
)

const (
	traceID     = "4bf92f3577b34da6a3ce929d0e0e4736"
	traceparent = "00-" + traceID + "-00f067aa0ba902b7-01"
)

func TestTraceIDs(t *testing.T) {
	for header, want := range map[string]string{
		traceparent: traceID,
		"01-" + traceID + "-00f067aa0ba902b7-01-later": traceID, // a later version may have more parts
		"":                                    "",
		"00-" + traceID:                       "",
		"00-" + traceID + "-00f067aa0ba902b7": "",
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01":  "",
		"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01":  "",
		"00-4bf92f3577b34da6a3ce929d0e0e473\n-00f067aa0ba902b7-01": "",
		"00_" + traceID + "-00f067aa0ba902b7-01":                   "",
		"00-" + traceID + "_00f067aa0ba902b7-01":                   "",
	} {
		r := &http.Request{Header: http.Header{HeaderTraceparent: {header}}}
		if got := TraceID(r, DefaultKeySources()); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
	two := &http.Request{Header: http.Header{HeaderTraceparent: {traceparent, traceparent}}}
	if got := TraceID(two, nil); got != "" {
		t.Errorf("two headers: %q", got)
	}
	if got := TraceID(&http.Request{}, nil); got != "" {
		t.Errorf("no header: %q", got)
	}
}

// TestATraceIDIsNoKey: keys of an adopted collection may be 32 hexadecimal digits.
func TestATraceIDIsNoKey(t *testing.T) {
	for name, header := range map[string]http.Header{
		"bearer": {"Authorization": {"Bearer " + traceID}}, "a part": {"X-Api-Key": {traceID[4:20]}},
	} {
		header[HeaderTraceparent] = []string{traceparent}
		if got := TraceID(&http.Request{Header: header}, DefaultKeySources()); got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
}
