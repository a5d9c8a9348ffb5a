package config

import (
	"errors"
	"fmt"
	"strings"
)

// checkScope: heartbeats in another database are not in the change stream of the
// keys' database.
func (c *Config) checkScope() error {
	switch {
	case c.StreamScope != "" && c.StreamScope != "database" && c.StreamScope != "collection":
		return oneOf("stream-scope", c.StreamScope, "database", "collection")
	case c.ownsState():
		return nil
	case c.StreamScope != "collection":
		return errors.New("--state-database may differ from the database of the keys only with --stream-scope collection: the stream of one database has no heartbeats of another")
	case c.StateDatabase == "admin", c.StateDatabase == "config", c.StateDatabase == "local":
		return fmt.Errorf("--state-database cannot be %s: that database belongs to the server", c.StateDatabase)
	case len(c.StateDatabase) > maxNameBytes, strings.ContainsAny(c.StateDatabase, "/\\. \"$*<>:|?\x00"):
		return errors.New(`--state-database must have at most 63 bytes and none of the characters /\. "$*<>:|?`)
	}
	return nil
}

// ownsState: keytail's own collections are in the keys' database.
func (c *Config) ownsState() bool { return c.StateDatabase == "" || c.StateDatabase == c.Database }
