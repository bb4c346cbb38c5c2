// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
)

// A NameServer is a BIND 9 that knows a few zones, in which every name has the
// address 127.0.0.1, and takes updates of them that carry its TSIG key (RFC 8945).
type NameServer struct {
	*Process
	Address string // host:port
	KeyName string
	Key     string // base64, of hmac-sha256
}

// StartNamed starts one for the zones.
func StartNamed(t TB, zones ...string) *NameServer {
	t.Helper()
	secret := make([]byte, 32)
	rand.Read(secret)
	port, control := FreePort(t), t.TempDir()
	s := &NameServer{Address: Loopback(port), KeyName: "tallystick", Key: base64.StdEncoding.EncodeToString(secret)}
	var config strings.Builder
	fmt.Fprintf(&config, `options {
	directory %q;
	pid-file none;
	session-keyfile none;
	listen-on port %d { 127.0.0.1; };
	listen-on-v6 { none; };
	recursion no;
	dnssec-validation no;
	allow-transfer { none; };
	empty-zones-enable no;
};
controls { };
key %q { algorithm hmac-sha256; secret %q; };
`, control, port, s.KeyName, s.Key)
	for _, zone := range zones {
		file := write(t, control, zone+".zone", fmt.Sprintf("$TTL 1\n@ SOA ns.%[1]s. root.%[1]s. 1 60 60 60 1\n@ NS ns.%[1]s.\n@ A 127.0.0.1\n* A 127.0.0.1\n", zone))
		fmt.Fprintf(&config, "zone %q { type primary; file %q; allow-update { key %q; }; };\n", zone, file, s.KeyName)
	}
	path := write(t, control, "named.conf", config.String())
	s.Process = Start(t, control, nil, []string{Program(t, "named"), "-g", "-c", path, "-n", "1"}, s.Address)
	return s
}
