package mongotest

import "fmt"

// startSharedDevmongo: devmongo is being written.
func startSharedDevmongo() (*Server, func(), error) {
	return nil, nil, fmt.Errorf("%w: devmongo is not built yet", errMissing)
}
