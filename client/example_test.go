package client_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/client"
)

// Without a daemon no request with a key goes ahead.
func Example() {
	keys, err := client.New(client.Config{URL: "http://127.0.0.1:1"}) // where nothing listens
	if err != nil {
		panic(err)
	}
	defer keys.Close()

	router := gin.New()
	router.Use(keys.Authenticate())
	router.GET("/orders", auth.RequireScope("orders:read"), func(c *gin.Context) {
		c.String(http.StatusOK, "orders of %s", auth.FromGin(c).UserID)
	})

	request := httptest.NewRequest(http.MethodGet, "/orders", http.NoBody)
	request.Header.Set("Authorization", "Bearer some-key")
	response := httptest.NewRecorder()
	router.ServeHTTP(response, request)
	fmt.Println(response.Code, "Retry-After:", response.Header().Get("Retry-After"))
	// Output:
	// 503 Retry-After: 1
}
