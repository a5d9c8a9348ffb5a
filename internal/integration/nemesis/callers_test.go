package nemesis

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/nemesis"
)

// validator validates keys, as an instance does.
type validator interface {
	Validate(ctx context.Context, text string, request *apikey.Request) apikey.Verdict
}

// call validates random keys at one instance until ctx ends.
func (a *workload) call(ctx context.Context, random *rand.Rand, name string, instance validator, quiet, mayEvict bool) {
	pace := time.NewTicker(callPace)
	defer pace.Stop()
	for ctx.Err() == nil {
		a.mutex.RLock()
		from := a.subjects
		switch {
		case quiet:
			from = a.quiet
		case len(a.recent) > 0 && random.IntN(2) == 0:
			from = a.recent
		}
		s := from[random.IntN(len(from))]
		a.mutex.RUnlock()
		answer := validate(ctx, name, instance, s)
		answer.Quiet = answer.Quiet && !mayEvict
		a.history.AddAnswer(answer)
		select {
		case <-ctx.Done():
		case <-pace.C:
		}
	}
}

// everyRequest is what all callers need a key for. Keys that are bound are bound to another
// organisation.
func everyRequest() *apikey.Request { return &apikey.Request{Scopes: []string{"read"}, OrgID: "this"} }

func validate(ctx context.Context, name string, instance validator, s subject) nemesis.Answer {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	asked := time.Now()
	v := instance.Validate(ctx, s.text, everyRequest())
	return nemesis.Answer{
		Key: s.label, Code: v.Code, Asked: asked, Given: time.Now(), AsOf: v.AsOf, Staleness: v.Staleness, Revision: v.Revision,
		NoAge: isAgeless(instance), Instance: name, Cached: v.Source == apikey.SourceCache, Quiet: s.quiet,
	}
}

// isAgeless reports whether a cache reports no age. keytail must report one with every answer.
func isAgeless(v validator) bool {
	i, ok := v.(*instance)
	return ok && i.keytail == nil
}
