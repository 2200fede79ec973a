module example.test/seed

go 1.24

require github.com/DevLabFoundry/configmanager/v3 v3.0.0

replace github.com/DevLabFoundry/configmanager/v3 => ./upstream
