// Package e2e holds only a test: camagent itself with a USB camera, in a virtual
// machine of scripts/vm. Its files have the build tag vm.
package e2e
