//go:build tools

// What build.sh builds, so that go.mod and go.sum have all of it.
package tools

import _ "github.com/coredns/coredns"
