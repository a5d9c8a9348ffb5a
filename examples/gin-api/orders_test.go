package main

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"go.uber.org/goleak"

	"github.com/keytail/keytail"
	"github.com/keytail/keytail/keytailtest"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode)
	goleak.VerifyTestMain(m)
}

// api is the routes over keys that a test makes.
func api(t *testing.T) (*httptest.Server, *keytailtest.Validator) {
	v := keytailtest.New(t)
	router := gin.New()
	newBook().addRoutes(router, v)
	server := httptest.NewServer(router)
	t.Cleanup(server.Close)
	return server, v
}

// send makes a request with a key. The answer's body is read by the caller.
func send(t *testing.T, method, url, key, body string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+key)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// answer is the status and the body of a request with a key.
func answer(t *testing.T, method, url, key, body string) (int, string) {
	t.Helper()
	response := send(t, method, url, key, body)
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestScopesAreNeeded(t *testing.T) {
	server, v := api(t)
	reader, writer := v.Key("orders:read"), v.Key("orders:write")
	for _, test := range []struct {
		method, path, key string
		want              int
	}{
		{http.MethodGet, "/orders", reader, http.StatusOK},
		{http.MethodGet, "/orders", writer, http.StatusForbidden},
		{http.MethodGet, "/orders", keytailtest.UnknownKey(), http.StatusUnauthorized},
		{http.MethodGet, "/orders", "", http.StatusUnauthorized},
		{http.MethodPost, "/orders", writer, http.StatusCreated},
		{http.MethodPost, "/orders", reader, http.StatusForbidden},
		{http.MethodGet, "/orders/events", writer, http.StatusForbidden},
	} {
		if got, body := answer(t, test.method, server.URL+test.path, test.key, `{"item":"tea"}`); got != test.want {
			t.Errorf("%s %s: %d %s, want %d", test.method, test.path, got, body, test.want)
		}
	}
	v.Outage()
	if got, body := answer(t, http.MethodGet, server.URL+"/orders", reader, ""); got != http.StatusServiceUnavailable {
		t.Errorf("when keytail does not know: %d %s", got, body)
	}
}

func TestEverybodySeesTheirOwnOrders(t *testing.T) {
	server, v := api(t)
	ada := v.Add(keytail.Key{UserID: "ada", Scopes: []string{"orders:*"}})
	bob := v.Add(keytail.Key{UserID: "bob", Scopes: []string{"orders:*"}})
	answer(t, http.MethodPost, server.URL+"/orders", ada, `{"item":"tea"}`)
	if got, body := answer(t, http.MethodPost, server.URL+"/orders", ada, `{}`); got != http.StatusBadRequest {
		t.Errorf("an order of nothing: %d %s", got, body)
	}
	for key, want := range map[string]string{ada: `{"orders":[{"item":"tea"}]}`, bob: `{"orders":[]}`} {
		if _, body := answer(t, http.MethodGet, server.URL+"/orders", key, ""); body != want {
			t.Errorf("%s, want %s", body, want)
		}
	}
}

func TestAStreamEndsWithItsKey(t *testing.T) {
	for name, end := range map[string]func(v *keytailtest.Validator, key string){
		"revoked":           (*keytailtest.Validator).Revoke,
		"expired":           (*keytailtest.Validator).Expire,
		"deleted":           (*keytailtest.Validator).Delete,
		"without the scope": func(v *keytailtest.Validator, key string) { v.SetScopes(key, "orders:write") },
		"nobody knows":      func(v *keytailtest.Validator, _ string) { v.Outage() },
	} {
		t.Run(name, func(t *testing.T) {
			server, v := api(t)
			key := v.Key("orders:*")
			stream := bufio.NewScanner(send(t, http.MethodGet, server.URL+"/orders/events", key, "").Body)
			answer(t, http.MethodPost, server.URL+"/orders", key, `{"item":"tea"}`)
			if !stream.Scan() || stream.Text() != "event:order" || !stream.Scan() || stream.Text() != `data:{"item":"tea"}` {
				t.Fatalf("the stream has %q: %v", stream.Text(), stream.Err())
			}
			end(v, key)
			for stream.Scan() {
				if stream.Text() != "" {
					t.Errorf("the stream goes on with %q", stream.Text())
				}
			}
			if err := stream.Err(); err != nil {
				t.Error(err)
			}
		})
	}
}
