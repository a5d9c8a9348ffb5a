package validator

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"go.opentelemetry.io/otel/attribute"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/tracing"
	"github.com/keytail/keytail/internal/tracing/tracingtest"
)

// traced validates with a span of this name, as a request has one.
func (r *rig) traced(ctx context.Context, spans *tracingtest.Recorder, name string) apikey.Verdict {
	ctx, span := spans.Begin(ctx, name)
	defer span.End()
	return r.Validate(ctx, text, &apikey.Request{})
}

// mustNotShowTheKey searches everything that spans export.
func mustNotShowTheKey(t *testing.T, spans *tracingtest.Recorder) {
	t.Helper()
	all := tracingtest.Text(spans.Spans())
	if all == "" {
		t.Fatal("no span has ended")
	}
	for _, secret := range []string{text, string(hash[:]), hex.EncodeToString(hash[:])} {
		if strings.Contains(strings.ToLower(all), strings.ToLower(secret)) {
			t.Errorf("%q is in a span:\n%s", secret, all)
		}
	}
}

func TestTheSpanOfARequestHasTheVerdict(t *testing.T) {
	r, spans := live(t), tracingtest.New()
	r.store.put(hash, document("u1"))
	r.traced(t.Context(), spans, "miss")
	r.traced(t.Context(), spans, "hit")
	for name, source := range map[string]string{"miss": "fill", "hit": "cache"} {
		span := spans.Span(t, name)
		for key, want := range map[attribute.Key]string{
			tracing.Code: "VALID", tracing.Source: source, tracing.StalenessMS: "0", tracing.Revision: "0000000000000064",
		} {
			if got := tracingtest.Value(span, key); got != want {
				t.Errorf("%s: %s is %q, want %q", name, key, got, want)
			}
		}
	}
	read := spans.Span(t, tracing.SpanRead)
	if read.Parent.SpanID() != spans.Span(t, "miss").SpanContext.SpanID() {
		t.Error("the read is not part of the request that needed it")
	}
	if kind, result := tracingtest.Value(read, tracing.ReadKind), tracingtest.Value(read, tracing.ReadResult); kind != "fill" || result != "found" {
		t.Errorf("the read is %q, %q", kind, result)
	}
	mustNotShowTheKey(t, spans)
}

// TestAFailedReadHasNoText: a server's error may quote the hash.
func TestAFailedReadHasNoText(t *testing.T) {
	r, spans := live(t), tracingtest.New()
	r.store.err = errors.New("no luck with " + hex.EncodeToString(hash[:]) + " of " + text)
	r.traced(t.Context(), spans, "request")
	read := spans.Span(t, tracing.SpanRead)
	if class := tracingtest.Value(read, tracing.ErrorType); class != "database" || read.Status.Description != "" {
		t.Errorf("the read failed with %q, %q", class, read.Status.Description)
	}
	mustNotShowTheKey(t, spans)
}

// TestASharedReadBelongsToTheFirst request, and those of others name it.
func TestASharedReadBelongsToTheFirst(t *testing.T) {
	for kind, breakStream := range map[string]func(*rig){
		"fill":         func(*rig) {},
		"direct":       func(r *rig) { r.cache.Lose() },
		"linearizable": func(r *rig) { r.clock.advance(keycache.DefaultMaxStale + 1) },
	} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, spans := live(t), tracingtest.New()
				r.store.put(hash, document("u1"))
				breakStream(r)
				r.store.block()
				go func() { <-r.store.began }()
				for _, name := range []string{"first", "second", "third"} {
					go r.traced(t.Context(), spans, name)
					synctest.Wait()
				}
				r.store.release()
				synctest.Wait()
				// A fill is shared by all. Of the others, a request that arrives during a read has
				// the next one, which the third one shares.
				owner, sharing := "first", []string{"second", "third"}
				if kind != "fill" {
					owner, sharing = "second", []string{"third"}
				}
				id := spans.Span(t, owner).SpanContext.SpanID()
				for _, name := range sharing {
					span := spans.Span(t, name)
					if len(span.Links) != 1 || span.Links[0].SpanContext.SpanID() != id || len(span.Events) != 1 || tracingtest.Value(span, tracing.Code) != "VALID" {
						t.Errorf("%s does not name the request of the read:\n%s", name, tracingtest.Text(spans.Spans()))
					}
				}
				reads := 0
				for _, span := range spans.Spans() {
					if span.Name == tracing.SpanRead && span.Parent.SpanID() == id {
						reads++
					}
				}
				if reads != 1 {
					t.Errorf("%s has %d reads, want 1:\n%s", owner, reads, tracingtest.Text(spans.Spans()))
				}
				mustNotShowTheKey(t, spans)
			})
		})
	}
}

// TestAnAnswerWithoutASpanAllocatesNothingForIt: it is the case of a daemon without tracing.
func TestAnAnswerWithoutASpanAllocatesNothingForIt(t *testing.T) {
	verdict := apikey.Verdict{Code: apikey.Valid, Revision: 100}
	if n := testing.AllocsPerRun(1000, func() { describe(t.Context(), &verdict) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
