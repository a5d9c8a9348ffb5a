package auth_test

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/revocation"
)

const patience = 20 * time.Second

// within runs a handler on a request with a key, and gives it its principal.
func within(t *testing.T, f framework, v auth.Validator, text string, need []string, do func(p *auth.Principal), opts ...auth.Option) {
	t.Helper()
	called := false
	answer := ask(f.serve(v, func(_ http.ResponseWriter, r *http.Request) {
		called = true
		do(auth.FromContext(r.Context()))
	}, need, opts...), "GET", "/", "X-Api-Key", text)
	if !called {
		t.Errorf("refused: %d %s", answer.StatusCode, bodyOf(t, answer))
	}
}

// endsWith waits for the principal's end.
func endsWith(t *testing.T, p *auth.Principal, code auth.Code) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(patience):
		t.Fatalf("it goes on, and should have ended with %s", code)
	}
	var revoked *auth.RevokedError
	if !errors.As(p.Err(), &revoked) || revoked.Code != code {
		t.Fatalf("it has ended with %v, not %s", p.Err(), code)
	}
}

// settled waits until all that a change brings about has been done: the one worker
// has come to a key that was changed after it.
func (k *keys) settled(t *testing.T) {
	t.Helper()
	k.put("the last")
	ended := make(chan error, 1)
	w := k.watches.Add(revocation.Entry{KeyID: "id-the last", Mark: k.watches.Begin(), OnEnd: func(err error) { ended <- err }, Recheck: k.refuse})
	defer w.Stop()
	k.watches.Changed("id-the last", 0)
	if err := <-ended; err == nil {
		t.Error("no cause")
	}
}

func goesOn(t *testing.T, k *keys, p *auth.Principal) {
	t.Helper()
	k.settled(t)
	k.settled(t)
	if err := p.Err(); err != nil {
		t.Fatalf("it has ended: %v", err)
	}
}

func TestDoneIsClosedWhenTheKeyIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(k *keys)
		code auth.Code
	}{
		"revoked": {func(k *keys) { k.put("k", revoked) }, auth.Disabled},
		"deleted": {func(k *keys) { k.delete("k") }, auth.NotFound},
		"expired": {func(k *keys) { k.put("k", func(r *apikey.Record) { r.ExpiresAt = time.Now() }) }, auth.Expired},
		"expires soon": {func(k *keys) {
			k.put("k", func(r *apikey.Record) { r.ExpiresAt = time.Now().Add(50 * time.Millisecond) })
		}, auth.Expired},
		"bound to another org":     {func(k *keys) { k.put("k", func(r *apikey.Record) { r.OrgID = "o" }) }, auth.Forbidden},
		"a static scope is gone":   {func(k *keys) { k.put("k", func(r *apikey.Record) { r.Scopes = []string{"admin:*", "x"} }) }, auth.InsufficientPermissions},
		"a required scope is gone": {func(k *keys) { k.put("k", func(r *apikey.Record) { r.Scopes = []string{"read", "admin:b"} }) }, auth.InsufficientPermissions},
		"another user's":           {func(k *keys) { k.put("k", func(r *apikey.Record) { r.UserID = "user-2" }) }, auth.NotFound},
		"another key": {func(k *keys) {
			k.put("k", func(r *apikey.Record) { r.KeyID = "id-2" })
			k.watches.Changed("id-k", 0)
		}, auth.NotFound},
	} {
		t.Run(name, func(t *testing.T) {
			inEach(t, func(t *testing.T, f framework) {
				k := newKeys(t)
				k.put("k")
				within(t, f, k, "k", []string{"admin:a"}, func(p *auth.Principal) {
					if k.watches.Watching() != 0 {
						t.Error("it is watched before anybody wants to know")
					}
					goesOn(t, k, p)
					p.Done()
					c.do(k)
					endsWith(t, p, c.code)
				}, auth.Scopes("read"))
			})
		})
	}
}

func TestDoneIsNotClosedByAChangeThatLeavesTheKeyValid(t *testing.T) {
	inEach(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		var kept *auth.Principal
		within(t, f, k, "k", []string{"read"}, func(p *auth.Principal) {
			p.Done()
			k.put("k", func(r *apikey.Record) {
				r.Name, r.Scopes, r.ExpiresAt = "renamed", []string{"*"}, time.Now().Add(time.Hour)
			})
			goesOn(t, k, p)
			k.away(true)
			k.watches.ChangedAll()
			k.put("k", revoked)
			k.put("k", func(r *apikey.Record) { r.Active = true })
			k.away(false)
			goesOn(t, k, p)
			kept = p
		})
		// When the handler has returned nobody watches any more.
		k.put("k", revoked)
		goesOn(t, k, kept)
		select {
		case <-kept.Done():
			t.Error("it is closed")
		default:
		}
	})
}

// TestNobodyWatchesForAHandlerThatHasReturned, whoever asks.
func TestNobodyWatchesForAHandlerThatHasReturned(t *testing.T) {
	inEach(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		var kept *auth.Principal
		within(t, f, k, "k", nil, func(p *auth.Principal) { kept = p })
		select {
		case <-kept.Done():
			t.Error("it has ended")
		default:
		}
		if k.watches.Watching() != 0 {
			t.Error("somebody watches")
		}
	})
}

// TestAChangeBeforeAnybodyWantsToKnowIsNotMissed: Done is called for the first time
// when the key is revoked already.
func TestAChangeBeforeAnybodyWantsToKnowIsNotMissed(t *testing.T) {
	inEach(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		within(t, f, k, "k", nil, func(p *auth.Principal) {
			k.put("k", revoked)
			if p.Err() != nil {
				t.Error("nobody wanted to know")
			}
			endsWith(t, p, auth.Disabled)
		})
	})
}

// late is a validator whose key is revoked when its verdict is on its way.
type late struct{ *keys }

func (l late) Validate(ctx context.Context, text string, request auth.Request) (auth.Verdict, error) {
	verdict, err := l.keys.Validate(ctx, text, request)
	if verdict.Code == auth.Valid {
		l.put(text, revoked)
	}
	return verdict, err
}

func TestAChangeBehindTheVerdictIsNotMissed(t *testing.T) {
	inEach(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		within(t, f, late{k}, "k", nil, func(p *auth.Principal) { endsWith(t, p, auth.Disabled) })
	})
}

// TestARecheckAsksForTheRevisionOfTheChange, if there is one: another instance may
// answer.
func TestARecheckAsksForTheRevisionOfTheChange(t *testing.T) {
	inEach(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		within(t, f, k, "k", nil, func(p *auth.Principal) {
			p.Done()
			k.watches.Changed("id-k", 7)
			for begun := time.Now(); k.lastRequest().MinRevision != 7; runtime.Gosched() {
				if time.Since(begun) > patience {
					t.Fatal("not asked for the revision")
				}
			}
			k.setRevision(7)
		})
		asked := k.count()
		within(t, f, k, "k", nil, func(p *auth.Principal) {
			p.Done()
			goesOn(t, k, p)
		})
		if n := k.count() - asked; n != 1 {
			t.Errorf("a verdict that has seen the change was asked for %d times", n)
		}
	})
}

// restored is what validates after its database was replaced by one whose clock is
// behind: no answer has seen the revisions of before.
type restored struct{ *keys }

func (r restored) Validate(ctx context.Context, text string, request auth.Request) (auth.Verdict, error) {
	if request.MinRevision > 6 {
		return auth.Verdict{Code: auth.Unavailable}, auth.ErrRevisionAhead
	}
	return r.keys.Validate(ctx, text, request)
}

// TestARevisionOfAnotherHistoryIsNotAskedFor for ever: the key would never end.
func TestARevisionOfAnotherHistoryIsNotAskedFor(t *testing.T) {
	inEach(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		k.watches.Changed("id-of another key", 7)
		within(t, f, restored{k}, "k", nil, func(p *auth.Principal) {
			p.Done()
			goesOn(t, k, p)
			k.put("k", revoked)
			endsWith(t, p, auth.Disabled)
		})
	})
}

// TestAScopeThatIsGoneBeforeItIsRequired: the key is watched from the beginning,
// loses the scope, and only then a requirement is added that the principal, which is
// from before, still meets.
func TestAScopeThatIsGoneBeforeItIsRequired(t *testing.T) {
	k := newKeys(t)
	k.put("k")
	engine := gin.New()
	var p *auth.Principal
	engine.GET("/", auth.Authenticate(k), func(c *gin.Context) {
		p = auth.PrincipalOf(c)
		p.Done()
		k.put("k", func(r *apikey.Record) { r.Scopes = []string{"write"} })
		goesOn(t, k, p)
	}, auth.RequireAny("write", "x"), auth.RequireScope("write"), auth.RequireScope("write"), auth.RequireAny("read", "x"), func(*gin.Context) {
		endsWith(t, p, auth.InsufficientPermissions)
	})
	k.put("k", func(r *apikey.Record) { r.Scopes = []string{"write", "read"} })
	if got := ask(engine, "GET", "/", "X-Api-Key", "k").StatusCode; got != http.StatusOK {
		t.Error(got)
	}
}

func TestLostTruth(t *testing.T) {
	inEach(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		within(t, f, k, "k", nil, func(kept *auth.Principal) {
			kept.Done()
			within(t, f, k, "k", nil, func(p *auth.Principal) {
				p.Done()
				k.watches.Doubt(true)
				goesOn(t, k, p) // the database can be asked
				k.away(true)
				select {
				case <-p.Done():
				case <-time.After(patience):
					t.Fatal("it goes on")
				}
				if !errors.Is(p.Err(), auth.ErrStalenessExceeded) {
					t.Errorf("it has ended with %v", p.Err())
				}
				k.watches.Changed("id-k", 0)
				goesOn(t, k, kept) // although nobody knows
				k.away(false)
				k.watches.Doubt(false)
			}, auth.CancelOnOutage())
			goesOn(t, k, kept)
			k.put("k", revoked)
			endsWith(t, kept, auth.Disabled)
		})
	})
}

// TestAValidatorThatTellsNothing gives an end by expiry alone.
func TestAValidatorThatTellsNothing(t *testing.T) {
	inEach(t, func(t *testing.T, f framework) {
		key := &auth.Key{KeyID: "k", UserID: "u", Active: true, ExpiresAt: time.Now().Add(50 * time.Millisecond)}
		within(t, f, lie{verdict: auth.Verdict{Code: auth.Valid, Key: key}}, "k", nil, func(p *auth.Principal) {
			endsWith(t, p, auth.Expired)
		})
	})
}
