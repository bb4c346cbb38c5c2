// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const config = `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile DIR/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
authz-regexp "^gidNumber=.*\+uidNumber=OWNER,cn=peercred,cn=external,cn=auth$" "cn=admin,dc=lab,dc=test"
database mdb
suffix "dc=lab,dc=test"
rootdn "cn=admin,dc=lab,dc=test"
directory DIR/db
dbnosync
maxsize 4294967296
index objectClass,entryCSN,entryUUID eq
`

// start fills a slapd and starts it.
func start(dir string, accounts int) (*exec.Cmd, error) {
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o700); err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "slapd.conf")
	text := strings.NewReplacer("DIR", dir, "OWNER", fmt.Sprint(os.Getuid())).Replace(config)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	entries := filepath.Join(dir, "entries.ldif")
	if err := fill(entries, accounts); err != nil {
		return nil, err
	}
	if out, err := exec.Command("/usr/sbin/slapadd", "-q", "-f", conf, "-l", entries).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("slapadd: %w: %s", err, out)
	}
	server := exec.Command("/usr/sbin/slapd", "-f", conf, "-h", "ldapi://"+url.QueryEscape(socket(dir)), "-d", "0")
	server.Dir = dir
	if err := server.Start(); err != nil {
		return nil, err
	}
	for range 300 {
		if conn, err := net.Dial("unix", socket(dir)); err == nil {
			return server, conn.Close()
		}
		time.Sleep(100 * time.Millisecond)
	}
	return server, fmt.Errorf("slapd does not answer")
}

// fill writes accounts, of which every tenth has a certificate and every hundredth is in a group.
func fill(path string, accounts int) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	der, err := certificate()
	if err != nil {
		return err
	}
	value := base64.StdEncoding.EncodeToString(der)
	w := bufio.NewWriter(file)
	// They were made long ago, one a second: what is new is read again and again for a while.
	made := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	stamp := func(i int) string {
		return "entryCSN: " + made.Add(time.Duration(i)*time.Second).Format("20060102150405.000000Z") + "#000000#000#000000\n"
	}
	fmt.Fprint(w, "dn: dc=lab,dc=test\nobjectClass: dcObject\nobjectClass: organization\no: Lab\n"+stamp(0)+"\n")
	for i := range accounts {
		fmt.Fprintf(w, "dn: uid=svc%06d,dc=lab,dc=test\nobjectClass: inetOrgPerson\ncn: svc%06[1]d\nsn: svc\nmail: svc%06[1]d@lab.test\n"+stamp(i), i)
		if i%10 == 0 {
			fmt.Fprintf(w, "userCertificate;binary:: %s\n", value)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprint(w, "dn: cn=operators,dc=lab,dc=test\nobjectClass: groupOfNames\ncn: operators\n"+stamp(0))
	for i := 0; i < accounts; i += 100 {
		fmt.Fprintf(w, "member: uid=svc%06d,dc=lab,dc=test\n", i)
	}
	return w.Flush()
}

func certificate() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "svc"}, NotBefore: time.Now(), NotAfter: time.Now().AddDate(1, 0, 0),
	}
	return x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
}
