// SPDX-License-Identifier: Apache-2.0

package network

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// stateListen is TCP_LISTEN in the column "st" of /proc/net/tcp (proc(5)).
const stateListen = "0A"

// Listeners returns the TCP ports of this machine that listen on loopback or
// on every address, as endpoints on loopback, in the order of their ports. proc
// is /proc. Programs are named as far as this user may see them.
func Listeners(proc fs.FS) ([]Endpoint, error) {
	sockets := map[netip.AddrPort]string{} // to inode
	for _, name := range []string{"net/tcp", "net/tcp6"} {
		err := readSockets(proc, name, sockets)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // no tcp6 where IPv6 is off
			return nil, err
		}
	}
	addresses := make([]netip.AddrPort, 0, len(sockets))
	inodes := map[string]bool{}
	for address, inode := range sockets {
		addresses = append(addresses, address)
		inodes[inode] = true
	}
	slices.SortFunc(addresses, func(a, b netip.AddrPort) int {
		if a.Port() != b.Port() {
			return int(a.Port()) - int(b.Port())
		}
		return a.Compare(b)
	})
	programs := socketPrograms(proc, inodes)
	endpoints := make([]Endpoint, 0, len(addresses))
	for _, address := range addresses {
		endpoints = append(endpoints, Endpoint{
			Host: address.Addr().String(), Port: address.Port(), Process: programs[sockets[address]],
		})
	}
	return endpoints, nil
}

// readSockets adds the listening sockets of one table: where to dial them, and
// their inode.
func readSockets(proc fs.FS, name string, sockets map[netip.AddrPort]string) error {
	file, err := proc.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || fields[3] != stateListen {
			continue
		}
		if address, ok := dialable(fields[1]); ok {
			sockets[address] = fields[9]
		}
	}
	return lines.Err()
}

// dialable reads "0100007F:1F90" and returns where to dial it over loopback;
// ok is false for an address that only others than loopback reach.
func dialable(text string) (address netip.AddrPort, ok bool) {
	host, port, found := strings.Cut(text, ":")
	raw, err := hex.DecodeString(host)
	number, err2 := strconv.ParseUint(port, 16, 16)
	if !found || err != nil || err2 != nil || number == 0 || len(raw)%4 != 0 {
		return address, false
	}
	for i := 0; i < len(raw); i += 4 { // the kernel prints words in the order of the machine
		binary.BigEndian.PutUint32(raw[i:], binary.NativeEndian.Uint32(raw[i:]))
	}
	ip, ok := netip.AddrFromSlice(raw)
	if !ok {
		return address, false
	}
	switch ip = ip.Unmap(); {
	case ip.IsUnspecified() && ip.Is4():
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case ip.IsUnspecified():
		ip = netip.IPv6Loopback()
	}
	return netip.AddrPortFrom(ip, uint16(number)), ip.IsLoopback()
}

// socketPrograms finds which programs hold the sockets with these inodes. What
// /proc does not show to this user stays unknown.
func socketPrograms(proc fs.FS, inodes map[string]bool) map[string]string {
	programs := map[string]string{}
	links, err := fs.Glob(proc, "[0-9]*/fd/*")
	if err != nil {
		return programs
	}
	for _, link := range links {
		destination, err := fs.ReadLink(proc, link)
		inode, isSocket := strings.CutPrefix(destination, "socket:[")
		inode = strings.TrimSuffix(inode, "]")
		if err != nil || !isSocket || !inodes[inode] || programs[inode] != "" {
			continue
		}
		pid, _, _ := strings.Cut(link, "/")
		if name, err := fs.ReadFile(proc, pid+"/comm"); err == nil {
			programs[inode] = Clean(strings.TrimSpace(string(name)))
		}
	}
	return programs
}
