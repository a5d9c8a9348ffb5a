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
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/guard"
	"github.com/keytail/keytail/internal/mongoclient"
)

// Config configures a Store. Client and Database are required.
type Config struct {
	// Client connects to the replica set. It must be the client that the change
	// stream uses: the driver informs the server about cluster times per client,
	// and a server refuses to wait for a time that it does not know. The
	// Store does not close the client.
	Client *mongo.Client
	// Database contains the collection.
	Database string
	// Schema names the collection and its fields. Zero: DefaultSchema.
	Schema Schema
	// HashSecret is the secret of the schema's hash algorithm; fewer than 16 bytes
	// give a warning at start. Nil: none.
	HashSecret []byte
	// ReadPreference is which members serve what no request waits for: Scan and
	// FindByIDs. Each read is at or after its cluster time on whichever member.
	// Nil: the primary.
	ReadPreference *readpref.ReadPref
	// Logger logs defective documents, by _id. Nil: nothing is logged.
	Logger *zap.Logger
	// Registerer registers the metrics of defective and ambiguous documents.
	// Nil: none.
	Registerer prometheus.Registerer
}

// Store reads and writes the keys of one collection. It is safe for concurrent
// use. Only Scan starts goroutines, which have stopped when it returns.
type Store struct {
	client   *mongo.Client
	database *mongo.Database
	// keys is the collection for reads with read concern majority and for
	// writes, which a majority must acknowledge.
	keys *mongo.Collection
	// background is the collection for reads that no request waits for, on the
	// members of Config.ReadPreference.
	background *mongo.Collection
	// backgroundIsMovable: those members are not the primary alone, and allow it.
	backgroundIsMovable bool
	// scanFailed: the cursor of the last scan on those members has failed, so the next
	// scan reads from the primary.
	scanFailed atomic.Bool
	// scanStart is scanStartTimeout. A test may change it.
	scanStart time.Duration
	// linearizable is the collection for reads that are made when the cache is
	// too old.
	linearizable *mongo.Collection

	schema Schema
	hasher apikey.Hasher
	// secretIsShort: see SecretWarning.
	secretIsShort bool
	logger        *zap.Logger
	sharded       atomic.Bool
	// found is what Prepare has seen of the documents' types. Nil before.
	found atomic.Pointer[otherTypes]
	// surveyWithin is startSurveyWithin. A test may change it.
	surveyWithin time.Duration
	// surveyBytes is maxSurveyBytes. A test may change it.
	surveyBytes int
	defects
}

// New checks the whole configuration, without a request to the database:
// Prepare checks the database.
func New(cfg Config) (*Store, error) {
	if reflect.ValueOf(cfg.Schema).IsZero() {
		cfg.Schema = DefaultSchema()
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	hasher, err := cfg.Schema.Hasher(cfg.HashSecret)
	if err := errors.Join(cfg.validate(), err); err != nil {
		return nil, err
	}
	s := &Store{
		client:   cfg.Client,
		database: mongoclient.Database(cfg.Client, cfg.Database),
		schema:   cfg.Schema,
		hasher:   hasher,

		secretIsShort: len(cfg.HashSecret) > 0 && len(cfg.HashSecret) < apikey.MinSecretLen,
		logger:        cfg.Logger.Named("keystore"),

		scanStart:    scanStartTimeout,
		surveyWithin: startSurveyWithin,
		surveyBytes:  maxSurveyBytes,
	}
	s.keys = s.database.Collection(cfg.Schema.Collection)
	if !guard.Majority {
		s.keys = s.keys.Clone(options.Collection().SetReadConcern(readconcern.Local()))
	}
	s.background = s.keys
	if !mongoclient.IsPrimary(cfg.ReadPreference) {
		s.background = s.keys.Clone(options.Collection().SetReadPreference(cfg.ReadPreference))
		s.backgroundIsMovable = mongoclient.AllowsPrimary(cfg.ReadPreference)
	}
	s.linearizable = s.keys.Clone(options.Collection().SetReadConcern(readconcern.Linearizable()))
	return s, s.defects.register(cfg.Registerer)
}

func (cfg Config) validate() error {
	mistakes := []error{cfg.Schema.Validate()}
	if cfg.Client == nil {
		mistakes = append(mistakes, errors.New("a MongoDB client is required"))
	}
	if cfg.Database == "" {
		mistakes = append(mistakes, errors.New("the database has no name"))
	}
	return errors.Join(mistakes...)
}

// Sharded reports whether Prepare found a sharded cluster. The cluster times of
// different shards are only loosely coupled, so an answer from the cache may
// ignore a change for max_stale plus the lag between shards.
func (s *Store) Sharded() bool { return s.sharded.Load() }

// Schema returns the schema in use.
func (s *Store) Schema() Schema { return s.schema }

// Hasher hashes the texts of the collection's keys.
func (s *Store) Hasher() apikey.Hasher { return s.hasher }

// Namespace returns the collection's full name, for messages.
func (s *Store) Namespace() string { return s.database.Name() + "." + s.schema.Collection }
