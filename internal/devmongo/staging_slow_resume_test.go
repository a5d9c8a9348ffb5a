package devmongo

import (
	"context"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// resumeToken returns the current token of a stream of the collection's database.
func resumeToken(t *testing.T, coll *mongo.Collection) bson.Raw {
	t.Helper()
	changes := must(coll.Database().Watch(testContext(t), mongo.Pipeline{}))(t)
	defer func() { _ = changes.Close(testContext(t)) }()
	return changes.ResumeToken()
}

func TestDelayResumesAffectsOnlyResumes(t *testing.T) {
	t.Parallel()
	s, _, coll := keys(t)
	victim := named(t, s, "victim")
	token := resumeToken(t, victim)
	resume := func(coll *mongo.Collection) time.Duration {
		return takes(func() {
			changes := must(coll.Database().Watch(testContext(t), mongo.Pipeline{}, options.ChangeStream().SetResumeAfter(token)))(t)
			_ = changes.Close(testContext(t))
		})
	}
	s.DelayResumes("victim", held)
	if took := resume(victim); took < held {
		t.Errorf("a resume took only %v", took)
	}
	// What is not delayed ends before the test's deadline, which is long before an hour.
	s.DelayResumes("victim", time.Hour)
	resumeToken(t, victim)
	resume(coll)
	s.DelayResumes("", 0)
	resume(victim)
}

func TestDelayedResumeEndsWithItsClient(t *testing.T) {
	t.Parallel()
	const forEver = time.Hour
	for _, c := range []struct {
		name string
		end  func(s *Server, client context.CancelFunc)
	}{
		{"the client closes", func(_ *Server, client context.CancelFunc) { client() }},
		{"the node steps down", func(s *Server, _ context.CancelFunc) { s.StepDown(forEver) }},
		{"the delay ends", func(s *Server, _ context.CancelFunc) { s.DelayResumes("", 0) }},
		{"the server stops", nil}, // otherwise the cleanup of start hangs
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, _, victim := keys(t)
			token := resumeToken(t, victim)
			s.DelayResumes("", forEver)
			ctx, cancel := context.WithCancel(testContext(t))
			defer cancel()
			done := make(chan struct{})
			go func() {
				defer close(done)
				changes, err := victim.Database().Watch(ctx, mongo.Pipeline{}, options.ChangeStream().SetResumeAfter(token))
				if err == nil {
					_ = changes.Close(testContext(t))
				}
			}()
			must(0, s.until(testContext(t), func() bool { return s.slowResumes > 0 }))(t)
			if c.end == nil {
				t.Cleanup(func() { <-done })
				return
			}
			c.end(s, cancel)
			must(0, s.until(testContext(t), func() bool { return s.slowResumes == 0 }))(t)
			cancel() // the driver would retry
			<-done
		})
	}
}
