// SPDX-License-Identifier: Apache-2.0

// Command limbo runs the cases of x509-limbo (https://github.com/C2SP/x509-limbo),
// a suite of certificate chains with the result that a verifier should give.
//
//	go run ./bench/limbo limbo.json
//
// It reads every certificate with parse.Certificate, verifies every server
// chain as the TLS driver does, and lists where the result is another than the
// suite's. docs/x509.md says what the differences mean.
package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "limbo: one argument, the path of limbo.json")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "limbo:", err)
		os.Exit(1)
	}
}

// A testcase has the members of limbo-schema.json that are used here.
type testcase struct {
	ID            string     `json:"id"`
	Kind          string     `json:"validation_kind"`
	Trusted       []string   `json:"trusted_certs"`
	Intermediates []string   `json:"untrusted_intermediates"`
	Peer          string     `json:"peer_certificate"`
	Time          *time.Time `json:"validation_time"`
	Expected      string     `json:"expected_result"`
	PeerName      *struct {
		Value string `json:"value"`
	} `json:"expected_peer_name"`
}

func run(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var suite struct {
		Cases []testcase `json:"testcases"`
	}
	if err := json.Unmarshal(data, &suite); err != nil {
		return fmt.Errorf("couldn't read %s: %w", path, err)
	}
	lost, err := readAll(suite.Cases)
	if err != nil {
		return err
	}
	unknown := verifyAll(suite.Cases)
	if lost > 0 || unknown > 0 {
		return fmt.Errorf("%d certificates are lost, %d differences are not explained", lost, unknown)
	}
	return nil
}

// readAll reads every distinct certificate of the suite.
func readAll(cases []testcase) (lost int, err error) {
	seen := map[tallystick.Fingerprint]bool{}
	refused := 0
	for _, c := range cases {
		for _, text := range slices.Concat(c.Trusted, c.Intermediates, []string{c.Peer}) {
			der, err := decode(text)
			if err != nil {
				return 0, fmt.Errorf("couldn't read case %s: %w", c.ID, err)
			}
			id := tallystick.FingerprintOf(der)
			if seen[id] {
				continue
			}
			seen[id] = true
			credential, err := parse.Certificate(der)
			if err != nil {
				lost++
				fmt.Printf("lost: %s: %v\n", c.ID, err)
			} else if credential.ReadError != "" {
				refused++
				fmt.Printf("read by the tolerant reader alone: %s: %s\n", c.ID, credential.ReadError)
			}
		}
	}
	fmt.Printf("\n%d distinct certificates: %d lost, %d that crypto/x509 refuses\n\n", len(seen), lost, refused)
	return lost, nil
}

func decode(text string) ([]byte, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	return block.Bytes, nil
}

// verifyAll compares results, lists the differences by cause, and returns how
// many have none.
func verifyAll(cases []testcase) (unknown int) {
	differences := map[string][]string{}
	same, skipped := 0, 0
	for _, c := range cases {
		if c.Kind != "SERVER" { // Tallystick verifies what servers show
			skipped++
			continue
		}
		err := c.verify()
		if (err == nil) == (c.Expected == "SUCCESS") {
			same++
			continue
		}
		line := c.ID
		if err != nil {
			line += ": " + err.Error()
		}
		cause := causeOf(c.ID, err == nil)
		differences[cause] = append(differences[cause], line)
	}
	different := 0
	for _, cause := range slices.Sorted(maps.Keys(differences)) {
		fmt.Printf("%s (%d)\n  %s\n", cause, len(differences[cause]), strings.Join(differences[cause], "\n  "))
		different += len(differences[cause])
	}
	fmt.Printf("\n%d cases: %d as expected, %d different, %d of clients not run\n", len(cases), same, different, skipped)
	return len(differences[unexplained])
}

// verify does what drivers/tls does with a served chain.
func (c testcase) verify() error {
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	for pool, texts := range map[*x509.CertPool][]string{roots: c.Trusted, intermediates: c.Intermediates} {
		for _, text := range texts {
			der, err := decode(text)
			if err != nil {
				return err
			}
			if cert, err := x509.ParseCertificate(der); err == nil {
				pool.AddCert(cert)
			}
		}
	}
	der, err := decode(c.Peer)
	if err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	options := x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: time.Now()}
	if c.Time != nil {
		options.CurrentTime = *c.Time
	}
	if c.PeerName != nil {
		options.DNSName = c.PeerName.Value
	}
	_, err = leaf.Verify(options)
	return err
}
