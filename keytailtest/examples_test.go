package keytailtest_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"time"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/keytailtest"
)

// exampleT replaces the *testing.T, which examples do not have.
type exampleT struct{ cleanups []func() }

func startT() *exampleT { return &exampleT{} }

func (*exampleT) Helper() {}

func (*exampleT) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }

func (t *exampleT) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

func (t *exampleT) end() {
	for _, f := range t.cleanups {
		f()
	}
}

func ExampleValidator_Add() {
	t := startT() // the *testing.T of your test
	defer t.end()
	v := keytailtest.New(t)

	ofAda := v.Add(auth.Key{UserID: "ada", Scopes: []string{"orders:*"}})
	ofAcme := v.Add(auth.Key{OrgID: "acme", ProjectID: "rockets"})
	forAnHour := v.Add(auth.Key{ExpiresAt: time.Now().Add(time.Hour)})
	inTheOffice := v.Add(auth.Key{AllowedIPs: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})

	for _, key := range []string{ofAda, ofAcme, forAnHour, inTheOffice} {
		verdict, _ := v.Validate(context.Background(), key, auth.Request{IP: netip.MustParseAddr("192.0.2.7")})
		fmt.Println(verdict.Key.KeyID, verdict.Key.UserID, verdict.Code)
	}
	// Output:
	// key-1 ada VALID
	// key-2 test-user VALID
	// key-3 test-user VALID
	// key-4 test-user VALID
}

// Principal.Done notifies a long-running handler that its key was revoked.
func ExampleValidator_Revoke() {
	t := startT() // the *testing.T of your test
	defer t.end()
	v := keytailtest.New(t)
	key := v.Key()

	service := v.Middleware()(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		principal := auth.FromContext(r.Context())
		done := principal.Done()
		v.Revoke(key)
		<-done
		fmt.Println(principal.Err())
	}))
	request := httptest.NewRequest(http.MethodGet, "/events", http.NoBody)
	request.Header.Set("Authorization", "Bearer "+key)
	service.ServeHTTP(httptest.NewRecorder(), request)
	// Output: the API key is no longer valid: DISABLED
}

func ExampleValidator_SetStaleness() {
	t := startT() // the *testing.T of your test
	defer t.end()
	v := keytailtest.New(t)
	key := v.Key()

	for _, staleness := range []time.Duration{5 * time.Second, keytailtest.MaxStale + 1} {
		v.SetStaleness(staleness)
		verdict, err := v.Validate(context.Background(), key, auth.Request{})
		fmt.Println(verdict.Code, verdict.Staleness, err)
	}
	// Output:
	// VALID 5s <nil>
	// UNAVAILABLE 0s the API key cannot be validated at the moment
}

func ExampleValidator_Validations() {
	t := startT() // the *testing.T of your test
	defer t.end()
	v := keytailtest.New(t)

	service := v.Middleware(auth.Scopes("orders:read"))(http.NotFoundHandler())
	request := httptest.NewRequest(http.MethodGet, "/orders", http.NoBody)
	request.Header.Set("X-Api-Key", v.Key("orders:write"))
	service.ServeHTTP(httptest.NewRecorder(), request)

	for _, validation := range v.Validations() {
		fmt.Println(validation.KeyID, validation.Request.Scopes, validation.Code)
	}
	// Output: key-1 [orders:read] INSUFFICIENT_PERMISSIONS
}
