package keystore

import (
	"errors"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/guard"
	"github.com/keytail/keytail/internal/mongoclient"
)

// Config says where the keys are. Client and Database are needed.
type Config struct {
	// Client reaches the replica set. It must be the one that the change stream
	// uses: the driver tells the server about cluster times per client, and a
	// server refuses to wait for a time that it has not heard of. The Store does
	// not close it.
	Client *mongo.Client
	// Database holds the collection.
	Database string
	// Schema names the collection and its fields. Zero: DefaultSchema.
	Schema Schema
	// Logger is told of defective documents, by _id. Nil: nobody is.
	Logger *zap.Logger
	// Registerer gets the metrics of defective and ambiguous documents. Nil: none.
	Registerer prometheus.Registerer
}

// Store reads keys from one collection. It is safe for concurrent use and has
// no goroutine of its own.
type Store struct {
	client   *mongo.Client
	database *mongo.Database
	// keys is the collection as the fill rule reads it, and as it is written: what is
	// acknowledged has been taken by a majority.
	keys *mongo.Collection
	// linearizable is the collection as it is read when memory is too old.
	linearizable *mongo.Collection

	schema  Schema
	logger  *zap.Logger
	sharded atomic.Bool
	// surveyWithin is startSurveyWithin, but for a test.
	surveyWithin time.Duration
	defects
}

// New checks the configuration, all of it, without asking the database: that is
// what Prepare does.
func New(cfg Config) (*Store, error) {
	if reflect.ValueOf(cfg.Schema).IsZero() {
		cfg.Schema = DefaultSchema()
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Store{
		client:   cfg.Client,
		database: mongoclient.Database(cfg.Client, cfg.Database),
		schema:   cfg.Schema,
		logger:   cfg.Logger.Named("keystore"),

		surveyWithin: startSurveyWithin,
	}
	s.keys = s.database.Collection(cfg.Schema.Collection)
	if !guard.Majority {
		s.keys = s.keys.Clone(options.Collection().SetReadConcern(readconcern.Local()))
	}
	s.linearizable = s.keys.Clone(options.Collection().SetReadConcern(readconcern.Linearizable()))
	return s, s.defects.register(cfg.Registerer)
}

func (cfg Config) validate() error {
	mistakes := []error{cfg.Schema.Validate()}
	if cfg.Client == nil {
		mistakes = append(mistakes, errors.New("there is no MongoDB client"))
	}
	if cfg.Database == "" {
		mistakes = append(mistakes, errors.New("the database has no name"))
	}
	return errors.Join(mistakes...)
}

// Sharded reports whether Prepare found a sharded cluster. Cluster times of
// different shards are only loosely coupled, so answers from memory may ignore a
// change for max_stale and, on top of it, the lag between shards.
func (s *Store) Sharded() bool { return s.sharded.Load() }

// Schema is the schema in use.
func (s *Store) Schema() Schema { return s.schema }

// Namespace is the collection's full name, for messages.
func (s *Store) Namespace() string { return s.namespace() }

func (s *Store) namespace() string { return s.database.Name() + "." + s.schema.Collection }
