"""What is built on the package: the command, comparisons, collections of files, Ray, the start-up hook's switch."""
