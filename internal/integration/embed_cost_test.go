package integration

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/mongotest"
)

// TestCostOfAuthenticate prints the cost of the middleware around an empty Gin handler,
// with a cached key.
func TestCostOfAuthenticate(t *testing.T) {
	if testing.Short() {
		t.Skip("it measures")
	}
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		if s.Name != mongotest.NameDevmongo {
			t.Skip("a hit does not meet the server")
		}
		r := startEmbedded(t, s, 0)
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		r.waitUntilCached(k)
		empty := func(c *gin.Context) { c.Status(http.StatusNoContent) }
		for _, c := range []struct {
			name  string
			chain []gin.HandlerFunc
		}{
			{"an empty handler", nil},
			{"Authenticate and RequireScope", []gin.HandlerFunc{r.service.Authenticate(), auth.RequireScope("read")}},
			{"CancelOnRevocation too", []gin.HandlerFunc{r.service.Authenticate(auth.CancelOnRevocation()), auth.RequireScope("read")}},
		} {
			engine := gin.New()
			engine.GET("/", append(c.chain, empty)...)
			request := httptest.NewRequest(http.MethodGet, "/", nil)
			request.Header.Set("Authorization", "Bearer "+k.text)
			request.Header.Set("X-Request-Id", "0123456789abcdef")
			recorder := httptest.NewRecorder()
			engine.ServeHTTP(recorder, request)
			if recorder.Code != http.StatusNoContent {
				t.Fatalf("%s: %d %s", c.name, recorder.Code, recorder.Body)
			}
			result := testing.Benchmark(func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					engine.ServeHTTP(recorder, request)
				}
			})
			t.Logf("%s: %v, %d B, %d allocations", c.name, result.NsPerOp(), result.AllocedBytesPerOp(), result.AllocsPerOp())
		}
	})
}
