module github.com/DevLabFoundry/configmanager/v3

go 1.24
