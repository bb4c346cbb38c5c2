// SPDX-License-Identifier: Apache-2.0

// Package demo plays a case from end to end: a vendor signs in to the Microsoft 365
// tenants of thousands of customers with one certificate, somebody steals it and enters a
// few of them, and Tallystick, reading what the vendor can read, names those and
// has the certificate replaced everywhere by a deadline. In a second wave, passwords that
// customers had entrusted to the vendor were readable on hosts that were entered; they are
// replaced at real servers of this machine, where those are installed.
//
// Microsoft's cloud cannot be had for that, so the tenants are those of the emulator
// internal/lab/entra. All else is real: the vendor's products sign in and keep books with
// package holder, and Tallystick is the program itself, started as anybody would start it
// and asked over its API. It shares nothing with this process but files and loopback.
package demo
