package orders_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"go.uber.org/goleak"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/examples/internal/smoke"
	"github.com/keytail/keytail/examples/orders"
	"github.com/keytail/keytail/keytailtest"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode)
	goleak.VerifyTestMain(m)
}

// api serves the routes with the keys of a test.
func api(t *testing.T) (url string, keys *keytailtest.Validator) {
	keys = keytailtest.New(t)
	router := gin.New()
	router.Use(func(c *gin.Context) {
		c.Next()
		if c.Writer.Status() < http.StatusBadRequest && strings.Contains(fmt.Sprint(c.Request), "kt_") {
			t.Errorf("the handler of %s can read the key", c.FullPath())
		}
	})
	orders.New().AddRoutes(router, keys)
	server := httptest.NewServer(router)
	t.Cleanup(server.Close)
	return server.URL, keys
}

func TestRoutesRequireScopes(t *testing.T) {
	url, keys := api(t)
	reader, writer := keys.Key("orders:read"), keys.Key("orders:write")
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
		if got := smoke.Send(t, test.method, url+test.path, test.key, `{"item":"tea"}`); got.StatusCode != test.want {
			t.Errorf("%s %s: %s, want %d", test.method, test.path, got.Status, test.want)
		}
	}
	keys.Outage()
	if got, body := smoke.Answer(t, http.MethodGet, url+"/orders", reader, ""); got != http.StatusServiceUnavailable {
		t.Errorf("during an outage: got %d %s", got, body)
	}
}

func TestUsersGetTheirOwnOrders(t *testing.T) {
	url, keys := api(t)
	ada := keys.Add(auth.Key{UserID: "ada", Scopes: []string{"orders:*"}})
	bob := keys.Add(auth.Key{UserID: "bob", Scopes: []string{"orders:*"}})
	smoke.Answer(t, http.MethodPost, url+"/orders", ada, `{"item":"tea"}`)
	if got, body := smoke.Answer(t, http.MethodPost, url+"/orders", ada, `{}`); got != http.StatusBadRequest {
		t.Errorf("an order without an item: got %d %s", got, body)
	}
	for key, want := range map[string]string{ada: `{"orders":[{"item":"tea"}]}`, bob: `{"orders":[]}`} {
		if _, body := smoke.Answer(t, http.MethodGet, url+"/orders", key, ""); body != want {
			t.Errorf("got %s, want %s", body, want)
		}
	}
}

// TestOrganisationComesFromTheKey: no request names one.
func TestOrganisationComesFromTheKey(t *testing.T) {
	url, keys := api(t)
	inAcme := keys.Add(auth.Key{UserID: "ada", OrgID: "acme", Scopes: []string{"orders:*"}})
	inEmca := keys.Add(auth.Key{UserID: "ada", OrgID: "emca", Scopes: []string{"orders:*"}})
	inNone := keys.Add(auth.Key{UserID: "ada", Scopes: []string{"orders:*"}})
	smoke.Answer(t, http.MethodPost, url+"/orders", inAcme, `{"item":"tea"}`)
	for key, want := range map[string]string{inAcme: `{"orders":[{"item":"tea"}]}`, inEmca: `{"orders":[]}`, inNone: `{"orders":[]}`} {
		if _, body := smoke.Answer(t, http.MethodGet, url+"/orders", key, ""); body != want {
			t.Errorf("got %s, want %s", body, want)
		}
	}
}

func TestStreamEndsWithItsKey(t *testing.T) {
	for name, end := range map[string]func(keys *keytailtest.Validator, key string){
		"revoked":           (*keytailtest.Validator).Revoke,
		"expired":           (*keytailtest.Validator).Expire,
		"deleted":           (*keytailtest.Validator).Delete,
		"without the scope": func(keys *keytailtest.Validator, key string) { keys.SetScopes(key, "orders:write") },
		"moved": func(keys *keytailtest.Validator, key string) {
			keys.Change(key, func(k *auth.Key) { k.OrgID = "acme" })
		},
		"outage": func(keys *keytailtest.Validator, _ string) { keys.Outage() },
	} {
		t.Run(name, func(t *testing.T) {
			url, keys := api(t)
			key := keys.Key("orders:*")
			smoke.Answer(t, http.MethodPost, url+"/orders", key, `{"item":"tea"}`)
			stream := smoke.Stream(t, url, key)
			end(keys, key)
			if rest := strings.TrimSpace(smoke.Rest(t, stream)); rest != `data:{"item":"tea"}` {
				t.Errorf("the stream ends with %q", rest)
			}
		})
	}
}

func TestStreamHasNewOrders(t *testing.T) {
	url, keys := api(t)
	key := keys.Key("orders:*")
	smoke.Answer(t, http.MethodPost, url+"/orders", key, `{"item":"tea"}`)
	stream := smoke.Stream(t, url, key)
	smoke.Answer(t, http.MethodPost, url+"/orders", key, `{"item":"milk"}`)
	const want = "data:{\"item\":\"tea\"}\n\nevent:order\ndata:{\"item\":\"milk\"}\n\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(stream, got); err != nil || string(got) != want {
		t.Errorf("%q, %v", got, err)
	}
	keys.Revoke(key)
	smoke.Rest(t, stream)
}
