package connlimit

import (
	"fmt"
	"math"
)

const (
	// ownDescriptors are for everything that is not a connection of a client or of
	// MongoDB's pool: standard streams, listeners, files that are read again, name
	// resolution, the driver's monitors, and one accepted connection that waits on
	// each listener.
	ownDescriptors = 48
	// minSide and maxSide bound the connections of the operations and of the admin
	// listener: a few probes, scrapers and people.
	minSide, maxSide = 8, 64
	// sideShare is the part of all descriptors that each of these two may have.
	sideShare = 16
	// minClients is the smallest useful number of connections for the others.
	minClients = 16
	// maxClients is the default if descriptors are plentiful: an open connection takes
	// about 20 KiB, so all of them take about 160 MiB.
	maxClients = 8192
)

// Need is what the descriptors of the process are divided among.
type Need struct {
	// Descriptors is how many the process may have open. Zero: it has no limit.
	Descriptors int
	// Database is the most connections to MongoDB at a time.
	Database int
	// GRPC: there is a gRPC listener, which gets as many connections as the public one.
	GRPC bool
	// Requested is --max-connections. Zero: as many as fit, at most maxClients.
	Requested int
}

// Budget is how many connections the listeners may have.
type Budget struct {
	// Clients is for the public listener, and for the gRPC listener.
	Clients int
	// Side is for the operations listener, and for the admin listener.
	Side int
	// Warning is a sentence for the log: the descriptors do not suffice. Empty: they do.
	Warning string
}

// Divide reserves descriptors for the operations and admin listeners and for MongoDB,
// and gives the rest to the listeners of clients. It fails if Requested does not fit.
func Divide(need Need) (Budget, error) {
	descriptors := need.Descriptors
	if descriptors == 0 {
		descriptors = math.MaxInt32
	}
	b := Budget{Side: min(max(descriptors/sideShare, minSide), maxSide)}
	listeners := 1
	if need.GRPC {
		listeners = 2
	}
	reserved := ownDescriptors + need.Database + 2*b.Side
	fits := (descriptors - reserved) / listeners
	// enough is a limit of open files that certainly suffices for so many connections of
	// clients: with a higher limit, the side listeners get more, too.
	enough := func(clients int) int { return ownDescriptors + need.Database + 2*maxSide + clients*listeners }
	switch {
	case need.Requested > 0 && need.Requested > fits:
		return Budget{}, fmt.Errorf("--max-connections is %d, but the limit of open files is %d, and %d of them are reserved for MongoDB and the other listeners: raise the limit (ulimit -n, LimitNOFILE of systemd) to at least %d",
			need.Requested, descriptors, reserved, enough(need.Requested))
	case need.Requested > 0:
		b.Clients = need.Requested
	case fits < minClients:
		b.Clients = minClients
		b.Warning = fmt.Sprintf("the limit of open files is %d, but keytail needs %d for MongoDB, the operations listener and the admin listener, and more for clients: raise it (ulimit -n, LimitNOFILE of systemd) to at least %d, or set a lower maxPoolSize in the URI",
			descriptors, reserved, enough(minClients))
	default:
		b.Clients = min(fits, maxClients)
	}
	return b, nil
}
