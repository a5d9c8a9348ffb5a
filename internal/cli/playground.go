package cli

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongoclient"
	"github.com/keytail/keytail/internal/playground"
)

// playgroundOwner is the application name of the client that makes and revokes the keys of
// the playground: a cut between the services and MongoDB does not concern it.
const playgroundOwner = "keytail-playground-owner"

// newPlayground is the configuration of the playground, which only --dev has, and only on
// a loopback address: whoever opens it can stop the database. Nil: there is none. close
// ends its clients.
func (d *serveRun) newPlayground(ctx context.Context, dev *devServer, to database) (cfg *playground.Config, end func(), err error) {
	if dev == nil {
		return nil, func() {}, nil
	}
	if !config.Loopback(d.cfg.AdminAddr) {
		d.log.Info("the playground is served on a loopback address only: set --admin-addr to one")
		return nil, func() {}, nil
	}
	faults := devFaults{server: dev.DevServer, services: *to.Options.AppName}
	// A frozen primary must not keep the daemon from stopping.
	heal := context.AfterFunc(ctx, faults.Heal)
	service, closeService, serviceErr := d.openKeys(dev.URI(), faults.services, *to.Options.ServerSelectionTimeout)
	owner, closeOwner, ownerErr := d.openKeys(dev.URI(), playgroundOwner, playground.WriteTimeout)
	end = func() {
		heal()
		closeService()
		closeOwner()
	}
	if err := errors.Join(serviceErr, ownerErr); err != nil {
		end()
		return nil, func() {}, err
	}
	return &playground.Config{Service: service, Owner: owner, Faults: faults}, end, nil
}

// openKeys opens the collection of the keys with a client of this application name, which
// waits that long for a primary.
func (d *serveRun) openKeys(uri, appName string, patience time.Duration) (keys *playground.Database, end func(), err error) {
	settings, err := mongoclient.ForURI(uri)
	if err != nil {
		return nil, func() {}, err
	}
	settings.Options.SetAppName(appName).SetServerSelectionTimeout(patience)
	client, err := settings.Connect(uri)
	if err != nil {
		return nil, func() {}, err
	}
	store, err := d.openStore(client)
	return playground.NewDatabase(store, d.cfg.KeyPrefix), func() { disconnect(client, d.log.Logger) }, err
}

func (d *serveRun) openStore(client *mongo.Client) (*keystore.Store, error) {
	secret, err := hashSecret(d.cfg)
	if err != nil {
		return nil, err
	}
	// Without a log and metrics: the daemon reports defects of the documents.
	return keystore.New(keystore.Config{Client: client, Database: d.cfg.Database, Schema: schemaOf(d.cfg), HashSecret: secret, Logger: zap.NewNop()})
}

// devFaults are the faults that the in-memory MongoDB stages.
type devFaults struct {
	server DevServer
	// services is the application name of keytail and of the TTL cache.
	services string
}

// Cut implements playground.Faults.
func (f devFaults) Cut() { f.server.BlackHole(f.services) }

// Freeze implements playground.Faults.
func (f devFaults) Freeze() { f.server.Freeze("") }

// Heal implements playground.Faults.
func (f devFaults) Heal() { f.server.Heal() }
