package keytail_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail"
	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/devmongo"
)

// connectDevmongo connects to an in-memory MongoDB, which stands for your replica set.
func connectDevmongo() (client *mongo.Client, stop func()) {
	server, err := devmongo.New(devmongo.Config{})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	client, err = mongo.Connect(options.Client().ApplyURI(server.URI()))
	if err != nil {
		panic(err)
	}
	return client, func() {
		_ = client.Disconnect(ctx)
		cancel()
		if err := <-ended; err != nil {
			panic(err)
		}
	}
}

// get prints the status of a response.
func get(service http.Handler, path, key string) {
	request := httptest.NewRequest(http.MethodGet, path, http.NoBody)
	request.Header.Set("X-Api-Key", key)
	response := httptest.NewRecorder()
	service.ServeHTTP(response, request)
	fmt.Println(path, response.Code)
}

// A service with a readiness endpoint and metrics, from start to stop.
func Example() {
	client, disconnect := connectDevmongo() // in your program: mongo.Connect
	defer disconnect()

	registry := prometheus.NewRegistry() // or prometheus.DefaultRegisterer
	keys, err := keytail.New(context.Background(), keytail.Config{
		Client: client, Database: "app", EnsureSchema: true, CacheSizeMiB: 8, Registerer: registry,
	})
	if err != nil {
		panic(err) // it says what to do
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- keys.Run(ctx) }()

	router := gin.New()
	router.GET("/readyz", func(c *gin.Context) {
		status := keys.Status()
		if !status.Ready {
			c.String(http.StatusServiceUnavailable, string(status.State))
			return
		}
		c.String(http.StatusOK, string(status.State))
	})
	orders := router.Group("/orders", keys.Authenticate(auth.CancelOnRevocation()))
	orders.GET("", auth.RequireScope("orders:read"), func(c *gin.Context) {
		c.String(http.StatusOK, "orders of %s", auth.FromGin(c).UserID)
	})

	<-keys.Live()
	get(router, "/readyz", "")
	get(router, "/orders", "a-key-that-nobody-has")

	keys.Drain() // first: load balancers send no more requests
	get(router, "/readyz", "")
	// then http.Server.Shutdown, which waits for the last requests, and keytail last:
	stop()
	fmt.Println(<-ended)
	// Output:
	// /readyz 200
	// /orders 401
	// /readyz 503
	// <nil>
}

// A program that writes a key waits until the fleet has it.
func ExampleService_Sync() {
	client, disconnect := connectDevmongo()
	defer disconnect()
	keys, err := keytail.New(context.Background(), keytail.Config{Client: client, Database: "app", EnsureSchema: true, CacheSizeMiB: 8})
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- keys.Run(ctx) }()
	<-keys.Live()

	session, err := client.StartSession()
	if err != nil {
		panic(err)
	}
	defer session.EndSession(ctx)
	hash := sha256.Sum256([]byte("the-text-of-the-key"))
	_, err = client.Database("app").Collection("api_keys").InsertOne(mongo.NewSessionContext(ctx, session),
		bson.M{"key_hash": hex.EncodeToString(hash[:]), "is_active": true, "user_id": "ada"})
	if err != nil {
		panic(err)
	}

	written := keytail.RevisionOf(session.OperationTime())
	acknowledged, err := keys.Sync(ctx, written, keytail.SyncFleet)
	fmt.Println(acknowledged.Synced, err)
	verdict, err := keys.Validate(ctx, "the-text-of-the-key", auth.Request{})
	fmt.Println(verdict.Code, verdict.Revision >= written, err)

	stop()
	fmt.Println(<-ended)
	// Output:
	// true <nil>
	// VALID true <nil>
	// <nil>
}
