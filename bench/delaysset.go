package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/bench/delays"
	"github.com/keytail/keytail/internal/timing"
)

const (
	// electionTimeout is several elections of a set (electionTimeoutMillis is 10 s).
	electionTimeout = time.Minute
	// stepDownSeconds is how long the only member of a set stays secondary.
	stepDownSeconds = 2
	// lossLasts is longer than the pause before the change stream is opened again.
	lossLasts = 500 * time.Millisecond
)

// primaryVariable is the primary's host:port at the beginning of the fault, for the user's
// commands.
const primaryVariable = "PRIMARY"

// commandFault is a fault that the user's commands make and end.
func (s *delaysServer) commandFault(begin, end string) delays.Fault {
	return delays.Fault{How: "`" + begin + "`", Begin: func(ctx context.Context) (func() error, error) {
		set, err := s.members(ctx)
		if err != nil {
			return nil, err
		}
		// A Ctrl-C must not end the command that heals.
		heal := func() error { return shell(context.WithoutCancel(ctx), end, set.primary) }
		return heal, shell(ctx, begin, set.primary)
	}}
}

// shell runs a command with the output of this process. Empty: none.
func shell(ctx context.Context, text, primary string) error {
	if text == "" {
		return nil
	}
	command := exec.CommandContext(ctx, "/bin/sh", "-c", text) //nolint:gosec // the user's own command
	command.Env = append(os.Environ(), primaryVariable+"="+primary)
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("the command %q: %w", text, err)
	}
	return nil
}

// faultsFromOutside are those that a client can make without the machine of the server.
func (s *delaysServer) faultsFromOutside(lasts time.Duration) map[string]delays.Fault {
	none := func() error { return nil }
	all := map[string]delays.Fault{
		faultNone: {How: "no fault", Begin: beginning(none, none)},
		faultElection: {
			How:   fmt.Sprintf("`replSetStepDown`; a single node is elected again after %d s", stepDownSeconds),
			Short: true, Begin: s.stepDown,
		},
		faultPausedPrimary: {
			How:   "the test command `sleep`, which holds the primary's global lock",
			Begin: func(ctx context.Context) (func() error, error) { return s.holdLock(ctx, lasts) }, Short: true,
		},
		faultLostMajority: {How: "the failpoint `stopReplProducer` on each secondary", Begin: s.stopReplication},
		faultHistoryLost: {
			How:   "the failpoint `failCommand` with ChangeStreamHistoryLost (286) for keytail",
			Short: true, Begin: s.loseHistory,
		},
		faultKeytailKilled: {
			How: "SIGKILL, and a start at once", Short: true,
			Begin: func(ctx context.Context) (func() error, error) {
				s.daemon.Kill9()
				return func() error { return s.daemon.Restart(ctx) }, nil
			},
		},
		faultSlowDisk: {
			How: fmt.Sprintf("the failpoint `failCommand` delays each write by %s before it is made", short(commitDelay)),
			Begin: func(ctx context.Context) (func() error, error) {
				return s.failCommand(ctx, bson.D{
					{Key: "failCommands", Value: bson.A{"update", "insert", "findAndModify"}},
					{Key: "blockConnection", Value: true},
					{Key: "blockTimeMS", Value: commitDelay.Milliseconds()},
				})
			},
		},
		faultNetworkCut: {How: "a proxy before the server loses all bytes in both directions", Begin: s.cutNetwork},
	}
	if s.proxy == nil {
		all[faultNetworkCut] = delays.Fault{}
	}
	return all
}

// tell sends a command to the primary. An error of the server means that it does not allow it.
func tell(ctx context.Context, admin *mongo.Database, command bson.D) error {
	err := admin.RunCommand(ctx, command).Err()
	var refusal mongo.CommandError
	if errors.As(err, &refusal) && !refusal.HasErrorLabel("NetworkError") {
		return fmt.Errorf("%w: %s: %s", delays.ErrNotPossible, command[0].Key, refusal.Message)
	}
	return err
}

// stepDown makes the primary step down. The end waits for a primary.
func (s *delaysServer) stepDown(ctx context.Context) (func() error, error) {
	before, err := s.members(ctx)
	if err != nil {
		return nil, err
	}
	err = tell(ctx, s.admin, bson.D{
		{Key: "replSetStepDown", Value: stepDownSeconds},
		{Key: "secondaryCatchUpPeriodSecs", Value: stepDownSeconds - 1},
		// Without force a primary that no member can succeed refuses to step down.
		{Key: "force", Value: len(before.all) < 2},
	})
	if errors.Is(err, delays.ErrNotPossible) {
		return nil, err
	}
	// Any other error is the connection, which a primary closes when it steps down.
	return func() error {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), electionTimeout)
		defer cancel()
		for timing.Sleep(limited, 10*time.Millisecond) {
			if s.hasPrimary(limited) {
				return nil
			}
		}
		return fmt.Errorf("the set has no primary within %v", electionTimeout)
	}, nil
}

func (s *delaysServer) hasPrimary(ctx context.Context) bool {
	var hello struct {
		IsMaster bool `bson:"ismaster"`
	}
	err := s.admin.RunCommand(ctx, bson.D{{Key: "isMaster", Value: 1}}).Decode(&hello)
	return err == nil && hello.IsMaster
}

// holdLock makes the primary stand still: it answers the set's heartbeats alone.
func (s *delaysServer) holdLock(ctx context.Context, lasts time.Duration) (func() error, error) {
	hold := func(d time.Duration) error {
		return tell(context.WithoutCancel(ctx), s.admin, bson.D{{Key: "sleep", Value: 1}, {Key: "lock", Value: "w"}, {Key: "millis", Value: d.Milliseconds()}})
	}
	if err := hold(time.Millisecond); err != nil {
		return nil, err
	}
	held := make(chan error, 1)
	go func() { held <- hold(lasts) }()
	return func() error { return <-held }, nil
}

// stopReplication keeps the secondaries from replicating.
func (s *delaysServer) stopReplication(ctx context.Context) (func() error, error) {
	set, err := s.members(ctx)
	if err != nil {
		return nil, err
	}
	if len(set.all) < 2 {
		return nil, fmt.Errorf("%w: a single node is its own majority", delays.ErrNotPossible)
	}
	var repairs []func() error
	repair := func() error {
		var failures []error
		for _, f := range repairs {
			failures = append(failures, f())
		}
		return errors.Join(failures...)
	}
	for _, host := range set.all {
		if host == set.primary {
			continue
		}
		if err := s.stopMember(ctx, host, &repairs); err != nil {
			return nil, errors.Join(err, repair())
		}
	}
	return repair, nil
}

// stopMember keeps one member from replicating, and adds what ends that.
func (s *delaysServer) stopMember(ctx context.Context, host string, repairs *[]func() error) error {
	client, err := s.direct(host)
	if err != nil {
		return err
	}
	point := func(ctx context.Context, mode string) error {
		return tell(ctx, client.Database("admin"), bson.D{{Key: "configureFailPoint", Value: "stopReplProducer"}, {Key: "mode", Value: mode}})
	}
	*repairs = append(*repairs, func() error {
		defer disconnect(client)
		return point(context.WithoutCancel(ctx), "off")
	})
	return point(ctx, "alwaysOn")
}

// failCommand sets the failpoint for keytail and the writers. The end removes it.
func (s *delaysServer) failCommand(ctx context.Context, data bson.D) (func() error, error) {
	err := tell(ctx, s.admin, bson.D{{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: "alwaysOn"}, {Key: "data", Value: data}})
	if err != nil {
		return nil, err
	}
	return func() error {
		return tell(context.WithoutCancel(ctx), s.admin, bson.D{{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: "off"}})
	}, nil
}

// loseHistory makes the server say that the position of keytail's change stream is lost.
func (s *delaysServer) loseHistory(ctx context.Context) (func() error, error) {
	end, err := s.failCommand(ctx, bson.D{
		{Key: "failCommands", Value: bson.A{"aggregate", "getMore"}}, {Key: "errorCode", Value: 286}, {Key: "appName", Value: daemonName},
	})
	if err == nil {
		timing.Sleep(ctx, lossLasts)
	}
	return end, err
}
