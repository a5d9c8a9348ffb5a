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

// handle sends a request with a key, and calls do with its principal in the handler.
func handle(t *testing.T, f framework, v auth.Validator, text string, scopes []string, do func(p *auth.Principal), opts ...auth.Option) {
	t.Helper()
	called := false
	response := send(f.serve(v, func(_ http.ResponseWriter, r *http.Request) {
		called = true
		do(auth.FromContext(r.Context()))
	}, scopes, opts...), "GET", "/", "X-Api-Key", text)
	if !called {
		t.Errorf("refused: %d %s", response.StatusCode, bodyOf(t, response))
	}
}

// mustEnd waits for the end of Done.
func mustEnd(t *testing.T, p *auth.Principal, code auth.Code) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(patience):
		t.Fatalf("Done is still open, want %s", code)
	}
	var revoked *auth.RevokedError
	if !errors.As(p.Err(), &revoked) || revoked.Code != code {
		t.Fatalf("Done is closed with %v, want %s", p.Err(), code)
	}
}

// waitForRechecks waits for the rechecks that all changes so far caused: the only
// worker has come to a key that was changed after them.
func (k *keys) waitForRechecks(t *testing.T) {
	t.Helper()
	k.put("last")
	ended := make(chan error, 1)
	w := k.watches.Add(revocation.Entry{KeyID: "id-last", Mark: k.watches.Mark(), OnEnd: func(err error) { ended <- err }, Recheck: k.refuse})
	defer w.Stop()
	k.watches.Changed("id-last", 0)
	if err := <-ended; err == nil {
		t.Error("the watch ended without a cause")
	}
}

// mustBeOpen checks that Done is still open after all rechecks.
func mustBeOpen(t *testing.T, k *keys, p *auth.Principal) {
	t.Helper()
	k.waitForRechecks(t)
	k.waitForRechecks(t)
	if err := p.Err(); err != nil {
		t.Fatalf("Done is closed: %v", err)
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
		"bound to another org":           {func(k *keys) { k.put("k", func(r *apikey.Record) { r.OrgID = "o" }) }, auth.Forbidden},
		"scope of an option removed":     {func(k *keys) { k.put("k", func(r *apikey.Record) { r.Scopes = []string{"admin:*", "x"} }) }, auth.InsufficientPermissions},
		"scope of a requirement removed": {func(k *keys) { k.put("k", func(r *apikey.Record) { r.Scopes = []string{"read", "admin:b"} }) }, auth.InsufficientPermissions},
		"belongs to another user":        {func(k *keys) { k.put("k", func(r *apikey.Record) { r.UserID = "user-2" }) }, auth.NotFound},
		"belongs to another key": {func(k *keys) {
			k.put("k", func(r *apikey.Record) { r.KeyID = "id-2" })
			k.watches.Changed("id-k", 0)
		}, auth.NotFound},
	} {
		t.Run(name, func(t *testing.T) {
			forEachFramework(t, func(t *testing.T, f framework) {
				k := newKeys(t)
				k.put("k")
				handle(t, f, k, "k", []string{"admin:a"}, func(p *auth.Principal) {
					if k.watches.Watching() != 0 {
						t.Error("the key is watched before Done is called")
					}
					mustBeOpen(t, k, p)
					p.Done()
					c.do(k)
					mustEnd(t, p, c.code)
				}, auth.Scopes("read"))
			})
		})
	}
}

// A request that named nothing is for what the key was bound to, and the handler works with
// that: a key that is bound to something else no longer speaks for the request.
func TestDoneIsClosedWhenTheKeyIsMoved(t *testing.T) {
	for name, c := range map[string]struct {
		before, after string
		open          bool
	}{
		"to another":  {"acme", "emca", false},
		"bound":       {"", "acme", false},
		"the same":    {"acme", "acme", true},
		"bound to no": {"acme", "", true},
	} {
		for field, bind := range map[string]func(id string) func(*apikey.Record){
			"org":     func(id string) func(*apikey.Record) { return func(r *apikey.Record) { r.OrgID = id } },
			"project": func(id string) func(*apikey.Record) { return func(r *apikey.Record) { r.ProjectID = id } },
		} {
			t.Run(name+" "+field, func(t *testing.T) {
				forEachFramework(t, func(t *testing.T, f framework) {
					k := newKeys(t)
					k.put("k", bind(c.before))
					handle(t, f, k, "k", nil, func(p *auth.Principal) {
						p.Done()
						k.put("k", bind(c.after))
						if c.open {
							mustBeOpen(t, k, p)
							return
						}
						mustEnd(t, p, auth.Forbidden)
					})
				})
			})
		}
	}
}

// A key that was not bound becomes bound to what the request named.
func TestDoneStaysOpenWhenTheKeyIsBoundToWhatTheRequestNamed(t *testing.T) {
	named := auth.OrgID(func(*http.Request) string { return "acme" })
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		handle(t, f, k, "k", nil, func(p *auth.Principal) {
			p.Done()
			k.put("k", func(r *apikey.Record) { r.OrgID = "acme" })
			mustBeOpen(t, k, p)
			k.put("k", func(r *apikey.Record) { r.OrgID = "emca" })
			mustEnd(t, p, auth.Forbidden)
		}, named)
	})
}

func TestChangeOfAValidKeyDoesNotCloseDone(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		var kept *auth.Principal
		handle(t, f, k, "k", []string{"read"}, func(p *auth.Principal) {
			p.Done()
			k.put("k", func(r *apikey.Record) {
				r.Name, r.Scopes, r.ExpiresAt = "renamed", []string{"*"}, time.Now().Add(time.Hour)
			})
			mustBeOpen(t, k, p)
			k.setOutage(true)
			k.watches.ChangedAll()
			k.put("k", revoked)
			k.put("k", func(r *apikey.Record) { r.Active = true })
			k.setOutage(false)
			mustBeOpen(t, k, p)
			kept = p
		})
		// The watch ends with the handler.
		k.put("k", revoked)
		mustBeOpen(t, k, kept)
		select {
		case <-kept.Done():
			t.Error("Done is closed")
		default:
		}
	})
}

func TestDoneAfterTheHandlerDoesNotWatch(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		var kept *auth.Principal
		handle(t, f, k, "k", nil, func(p *auth.Principal) { kept = p })
		select {
		case <-kept.Done():
			t.Error("Done is closed")
		default:
		}
		if k.watches.Watching() != 0 {
			t.Error("the key is still watched")
		}
	})
}

// Done is called for the first time after the revocation.
func TestRevocationBeforeDoneIsNotMissed(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		handle(t, f, k, "k", nil, func(p *auth.Principal) {
			k.put("k", revoked)
			if p.Err() != nil {
				t.Error("Err is set before Done was called")
			}
			mustEnd(t, p, auth.Disabled)
		})
	})
}

// revokedDuringValidate revokes each key between the verdict and the return.
type revokedDuringValidate struct{ *keys }

func (l revokedDuringValidate) Validate(ctx context.Context, text string, request auth.Request) (auth.Verdict, error) {
	verdict, err := l.keys.Validate(ctx, text, request)
	if verdict.Code == auth.Valid {
		l.put(text, revoked)
	}
	return verdict, err
}

func TestRevocationDuringValidateIsNotMissed(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		handle(t, f, revokedDuringValidate{k}, "k", nil, func(p *auth.Principal) { mustEnd(t, p, auth.Disabled) })
	})
}

// Another instance than the one that reported the change can answer.
func TestRecheckRequiresTheRevisionOfTheChange(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		handle(t, f, k, "k", nil, func(p *auth.Principal) {
			p.Done()
			k.watches.Changed("id-k", 7)
			for begun := time.Now(); k.lastRequest().MinRevision != 7; runtime.Gosched() {
				if time.Since(begun) > patience {
					t.Fatal("no recheck with the revision")
				}
			}
			k.setRevision(7)
		})
		before := k.count()
		handle(t, f, k, "k", nil, func(p *auth.Principal) {
			p.Done()
			mustBeOpen(t, k, p)
		})
		if n := k.count() - before; n != 1 {
			t.Errorf("%d calls of Validate for a verdict that has seen the change, want 1", n)
		}
	})
}

// restored validates against a database that was replaced by one whose clock is behind:
// it has not reached the earlier revisions.
type restored struct{ *keys }

func (r restored) Validate(ctx context.Context, text string, request auth.Request) (auth.Verdict, error) {
	if request.MinRevision > 6 {
		return auth.Verdict{Code: auth.Unavailable}, auth.ErrRevisionAhead
	}
	return r.keys.Validate(ctx, text, request)
}

// Otherwise no recheck would succeed, and the key would stay valid forever.
func TestRecheckDropsARevisionOfAReplacedDatabase(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		k.watches.Changed("id-of another key", 7)
		handle(t, f, restored{k}, "k", nil, func(p *auth.Principal) {
			p.Done()
			mustBeOpen(t, k, p)
			k.put("k", revoked)
			mustEnd(t, p, auth.Disabled)
		})
	})
}

// The key is watched from the beginning and loses the scope. Only then comes a
// requirement, which the principal, from before the loss, still meets.
func TestScopeThatWasRemovedBeforeItIsRequired(t *testing.T) {
	k := newKeys(t)
	k.put("k")
	engine := gin.New()
	var p *auth.Principal
	engine.GET("/", auth.Authenticate(k), func(c *gin.Context) {
		p = auth.FromGin(c)
		p.Done()
		k.put("k", func(r *apikey.Record) { r.Scopes = []string{"write"} })
		mustBeOpen(t, k, p)
	}, auth.RequireAnyScope("write", "x"), auth.RequireScope("write"), auth.RequireScope("write"), auth.RequireAnyScope("read", "x"), func(*gin.Context) {
		mustEnd(t, p, auth.InsufficientPermissions)
	})
	k.put("k", func(r *apikey.Record) { r.Scopes = []string{"write", "read"} })
	if got := send(engine, "GET", "/", "X-Api-Key", "k").StatusCode; got != http.StatusOK {
		t.Error(got)
	}
}

func TestCancelOnOutage(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		handle(t, f, k, "k", nil, func(kept *auth.Principal) {
			kept.Done()
			handle(t, f, k, "k", nil, func(p *auth.Principal) {
				p.Done()
				k.watches.SetStale(true)
				mustBeOpen(t, k, p) // rechecks still succeed
				k.setOutage(true)
				select {
				case <-p.Done():
				case <-time.After(patience):
					t.Fatal("Done is still open")
				}
				if !errors.Is(p.Err(), auth.ErrStalenessExceeded) {
					t.Errorf("Done is closed with %v", p.Err())
				}
				k.watches.Changed("id-k", 0)
				mustBeOpen(t, k, kept) // although its rechecks fail
				k.setOutage(false)
				k.watches.SetStale(false)
			}, auth.CancelOnOutage())
			mustBeOpen(t, k, kept)
			k.put("k", revoked)
			mustEnd(t, kept, auth.Disabled)
		})
	})
}

func TestValidatorWithoutWatcherEndsByExpiry(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		key := &auth.Key{KeyID: "k", UserID: "u", Active: true, ExpiresAt: time.Now().Add(50 * time.Millisecond)}
		handle(t, f, fixedVerdict{verdict: auth.Verdict{Code: auth.Valid, Key: key}}, "k", nil, func(p *auth.Principal) {
			mustEnd(t, p, auth.Expired)
		})
	})
}
